"""A store that fails when it is told to, and remembers what it was asked.

A `Fault` says which call (by method and a shell pattern of its path, the n-th time, how often) and what happens:
an error before the call, or after it has taken effect; a reader that ends early or goes on too long; something
else done at that moment, such as changing the source.  The recorder lets an oracle ask whether anything was
written twice.  Capabilities are those of the store inside.  Called by tests of everything above the port.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, cast

from wherry.model.entry import Entry
from wherry.stores.port import Content, Reader, Root, Store

_CAPABILITIES = (
    "describe", "make_folder", "read_link", "make_symlink", "make_link", "staged", "stage", "publish", "sync"
)  # fmt: skip

_T = TypeVar("_T")


@dataclass
class Fault:
    """One line of a script.

    `method` and `path` are shell patterns; the fault strikes from the `nth` matching call on, `times` times.
    `error` is raised before the call, or `after` it.  `act` is called with the path before either.
    For `open`: `extra` bytes more (or less, when negative) than the file has are read.
    """

    method: str
    path: str = "*"
    nth: int = 1
    times: int = 1
    error: Exception | None = None
    after: bool = False
    act: Callable[[bytes], None] | None = None
    extra: int = 0
    seen: int = field(default=0, init=False)

    def strikes(self, method: str, path: bytes) -> bool:
        """Whether this call is the one; counts it."""
        text = path.decode("utf-8", "surrogateescape")
        if not (fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(text, self.path)):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


class Call(NamedTuple):
    """One call as it was made; `done` when it returned."""

    method: str
    path: bytes
    done: bool


class FaultyReader:
    """A reader whose file seems longer or shorter than it is."""

    def __init__(self, inner: Reader, extra: int) -> None:
        self._inner = inner
        self._size = inner.entry().size + extra

    def read_at(self, offset: int, size: int) -> bytes | memoryview:
        wanted = max(0, min(size, self._size - offset))
        piece = self._inner.read_at(offset, wanted) if wanted else b""
        return piece if len(piece) or not wanted else b"\0" * wanted

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        return self._inner.entry()

    def close(self) -> None:
        self._inner.close()


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

    def probe(self) -> Root:
        return self._call("probe", b"", self.inner.probe)

    def list(self, folder: bytes) -> Iterable[Entry]:
        return self._call("list", folder, lambda: self.inner.list(folder))

    def stat(self, path: bytes) -> Entry | None:
        return self._call("stat", path, lambda: self.inner.stat(path))

    def open(self, path: bytes) -> Reader:
        return self._call("open", path, lambda: self.inner.open(path))

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        self._call("put", path, lambda: self.inner.put(path, content, like, expect))

    def remove(self, path: bytes, expect: Entry) -> None:
        self._call("remove", path, lambda: self.inner.remove(path, expect))

    def close(self) -> None:
        self.inner.close()

    def _wrapped(self, name: str) -> Callable[..., Any]:
        inside = getattr(self.inner, name)

        def call(*args: Any) -> Any:
            return self._call(name, args[0] if args else b"", lambda: inside(*args))

        return call

    def _call(self, method: str, path: bytes, proceed: Callable[[], _T]) -> _T:
        with self._lock:
            faults = [fault for fault in self.script if fault.strikes(method, path)]
        done = False
        try:
            for fault in faults:
                if fault.act:
                    fault.act(path)
                if fault.error and not fault.after:
                    raise fault.error
            result = proceed()
            done = True
            for fault in faults:
                if fault.error:
                    raise fault.error
                if fault.extra:
                    result = cast("_T", FaultyReader(cast("Reader", result), fault.extra))
            return result
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
