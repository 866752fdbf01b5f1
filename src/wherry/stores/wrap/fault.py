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
from typing import Any, NamedTuple

from wherry.model.entry import Entry
from wherry.stores.port import Reader, Store

_PATHLESS = frozenset({"probe", "sync", "close"})


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
    """See the module.  Every public method of the store inside is reached through it."""

    def __init__(self, inner: Store, script: Iterable[Fault] = ()) -> None:
        self.inner = inner
        self.script = list(script)
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name.startswith("_") or not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            path = b"" if name in _PATHLESS or not args else args[0]
            return self._call(name, path, lambda: value(*args, **kwargs))

        return call

    def _call(self, method: str, path: bytes, proceed: Callable[[], Any]) -> Any:
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
                    result = FaultyReader(result, fault.extra)
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
