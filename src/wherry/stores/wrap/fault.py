"""A store that fails when it is told to, and remembers what it was asked.

A `Fault` says which call (by method and a shell pattern of its path, the n-th time, how often) and what happens:
an error before the call, in the middle of it, or after it has taken effect; bytes that are too few, too many or
damaged; another answer than the true one; something else done at that moment, such as changing the source.  The
recorder lets an oracle ask what was written, and whether anything was written twice.  Capabilities are those of the
store inside; a draft's `ranges`, `write`, `finish` and `discard` are calls of their own.  Called by tests of
everything above the port.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from wherry.model.entry import Entry
from wherry.stores.port import Content, Draft, Reader, Root, Store

_CAPABILITIES = (
    "names", "look", "attributes", "describe", "make_folder", "read_link", "make_symlink", "make_link",
    "begin", "staged", "stage", "publish", "sync", "check_rights",
)  # fmt: skip
WRITES = frozenset({
    "put", "remove", "describe", "make_folder", "make_symlink", "make_link", "begin", "stage", "publish", "draft",
    "write", "finish",
})  # fmt: skip
"""The methods that change a store."""

_T = TypeVar("_T")


@dataclass
class Fault:
    """One line of a script.

    `method` and `path` are shell patterns; the fault strikes from the `nth` matching call on, `times` times.
    `error` is raised before the call, or `after` it; `halfway`, when it concerns a body or a listing, is in the
    middle of that.  `act` is called with the path before all else.  `change` makes another answer of the true one.
    `extra`: bytes more (or less, when negative) than the opened file has.  `damage`: the offset of a byte that is
    another one, once, among those that are read from an opened file, put or staged.
    """

    method: str
    path: str = "*"
    nth: int = 1
    times: int = 1
    error: Exception | None = None
    after: bool = False
    halfway: bool = False
    act: Callable[[bytes], None] | None = None
    change: Callable[[Any], Any] | None = None
    extra: int = 0
    damage: int | None = None
    seen: int = field(default=0, init=False)

    def strikes(self, method: str, path: bytes) -> bool:
        """Whether this call is the one; counts it."""
        text = path.decode("utf-8", "surrogateescape")
        if not (fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(text, self.path)):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times

    @property
    def struck(self) -> bool:
        """Whether there was such a call."""
        return self.seen >= self.nth

    def before(self, path: bytes, body: Content | None) -> None:
        """What happens before the call takes effect."""
        if self.act:
            self.act(path)
        if self.error and not self.after:
            if self.halfway and body is not None:
                body.read(0, body.size // 2)
            raise self.error

    def answer(self, found: Any) -> Any:
        """What the caller gets instead of what was found."""
        if self.error:
            raise self.error
        if self.extra or self.damage is not None:
            found = FaultyReader(found, self.extra, self.damage) if hasattr(found, "read_at") else found
        return self.change(found) if self.change else found


_Faults = tuple[Fault, ...]


class Call(NamedTuple):
    """One call as it was made; `done` when it took effect."""

    method: str
    path: bytes
    done: bool


class FaultyReader:
    """A reader whose file seems longer or shorter than it is, or has a byte that is another one when first read."""

    def __init__(self, inner: Reader, extra: int = 0, damage: int | None = None) -> None:
        self._inner = inner
        self._size = inner.entry().size + extra
        self._damage = damage
        if hasattr(inner, "attributes"):
            self.attributes = inner.attributes

    def read_at(self, offset: int, size: int) -> bytes | memoryview:
        wanted = max(0, min(size, self._size - offset))
        piece = self._inner.read_at(offset, wanted) if wanted else b""
        if not len(piece) and wanted:
            return b"\0" * wanted
        at = self._damage
        if at is not None and offset <= at < offset + len(piece):
            self._damage = None
            return damaged(piece, at - offset)
        return piece

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        return self._inner.entry()

    def close(self) -> None:
        self._inner.close()


def damaged(data: bytes | memoryview, at: int) -> bytes:
    """The same bytes with one bit of one of them turned."""
    return bytes(data[:at]) + bytes([data[at] ^ 1]) + bytes(data[at + 1 :])


class FaultyDraft:
    """A draft whose calls are those of its store."""

    def __init__(self, store: FaultStore, path: bytes, inner: Draft) -> None:
        self._store = store
        self._path = path
        self._inner = inner

    @property
    def alone(self) -> bool:
        return self._inner.alone

    def ranges(self) -> list[tuple[int, int]]:
        return self._store.call("ranges", self._path, self._inner.ranges)

    def write(self, offset: int, size: int) -> None:
        self._store.call("write", self._path, lambda: self._inner.write(offset, size))

    def finish(self) -> None:
        self._store.call("finish", self._path, self._inner.finish)

    def discard(self) -> None:
        self._store.call("discard", self._path, self._inner.discard)


class FaultStore:
    """See the module."""

    def __init__(self, inner: Store, *script: Fault) -> None:
        self.inner = inner
        self.traits = inner.traits
        self.script = list(script)
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        # As attributes of their own, so that this store can what the one inside can, and no more.
        for name in _CAPABILITIES:
            if hasattr(inner, name):
                setattr(self, name, self._wrapped(name))
        if hasattr(inner, "draft"):
            self.draft = self._draft

    def probe(self) -> Root:
        return self.call("probe", b"", self.inner.probe)

    def list(self, folder: bytes) -> Iterable[Entry]:
        return self.call("list", folder, lambda: self.inner.list(folder))

    def stat(self, path: bytes) -> Entry | None:
        return self.call("stat", path, lambda: self.inner.stat(path))

    def open(self, path: bytes) -> Reader:
        return self.call("open", path, lambda: self.inner.open(path))

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        def proceed() -> None:
            self.inner.put(path, sent, like, expect)

        faults = self._due("put", path)
        sent = content
        for fault in faults:
            if fault.damage is not None:
                sent = Content(FaultyReader(content.reader, 0, fault.damage), content.entry, check=False)
        self._carry_out("put", path, faults, proceed, content)

    def remove(self, path: bytes, expect: Entry) -> None:
        self.call("remove", path, lambda: self.inner.remove(path, expect))

    def close(self) -> None:
        self.inner.close()

    def call(self, method: str, path: bytes, proceed: Callable[[], _T]) -> _T:
        """One call: what the script says of it, and its record."""
        return self._carry_out(method, path, self._due(method, path), proceed, None)

    def _draft(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> Draft:
        inside: Callable[..., Draft] = getattr(self.inner, "draft")  # noqa: B009 - no promise of every store
        return FaultyDraft(self, path, self.call("draft", path, lambda: inside(path, content, like, expect)))

    def _wrapped(self, name: str) -> Callable[..., Any]:
        inside = getattr(self.inner, name)

        def call(*args: Any, **named: Any) -> Any:
            path = args[0] if args else b""
            faults = self._due(name, path)
            if name == "stage":
                for fault in faults:
                    if fault.damage is not None and fault.damage < len(args[2]):
                        args = (*args[:2], damaged(args[2], fault.damage), *args[3:])
            return self._carry_out(name, path, faults, lambda: inside(*args, **named), None)

        return call

    def _due(self, method: str, path: bytes) -> _Faults:
        with self._lock:
            return tuple(fault for fault in self.script if fault.strikes(method, path))

    def _carry_out(
        self, method: str, path: bytes, faults: _Faults, proceed: Callable[[], _T], body: Content | None
    ) -> _T:
        done = False
        try:
            cut = next((f.error for f in faults if f.halfway and f.error), None)
            for fault in faults:
                if not (fault.halfway and method in _LISTINGS):
                    fault.before(path, body)
            result: Any = proceed()
            done = True
            if cut is not None and method in _LISTINGS:
                return _broken_off(result, cut)  # type: ignore[return-value]
            for fault in faults:
                result = fault.answer(result)
            return result  # type: ignore[no-any-return]
        finally:
            with self._lock:
                self.calls.append(Call(method, path, done))

    def count(self, method: str) -> Mapping[bytes, int]:
        """How often the method was done for each path."""
        counts: dict[bytes, int] = {}
        for call in self.calls:
            if call.method == method and call.done:
                counts[call.path] = counts.get(call.path, 0) + 1
        return counts

    @property
    def written(self) -> tuple[Call, ...]:
        """The calls that have changed the store, in their order."""
        return tuple(call for call in self.calls if call.done and call.method in WRITES)


_LISTINGS = frozenset({"list", "names"})


def _broken_off(found: Iterable[_T], error: Exception) -> Iterator[_T]:
    """Half of a listing, then the error."""
    whole = list(found)
    yield from whole[: len(whole) // 2]
    raise error
