"""A source whose listings are bare, with each item looked at: all that a copy goes by is known before it is planned.

Several items are looked at at once, a bounded number ahead of whoever takes the entries, so that a wide folder is
never in memory.  An item that cannot be looked at stays as it was listed, and fails when it is opened; one that is gone
is gone.  Made by `registry` for sources; a target is looked at only where the engine is in doubt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Protocol

from wherry.model.entry import Entry
from wherry.model.errors import StoreError
from wherry.stores.port import Content, Reader, Root, Store

_THREADS = 16
_AHEAD = 4 * _THREADS
_PASSED_ON = ("attributes", "read_link", "make_symlink", "make_link", "describe")


class BareStore(Store, Protocol):
    """A store whose listings tell little."""

    def told(self, folder: bytes, entry: Entry) -> Entry | None:
        """A listed entry with all that can be known of it; None when it is gone."""


class LookedStore:
    """See the module."""

    def __init__(self, inner: BareStore) -> None:
        self._inner = inner
        self.traits = replace(inner.traits, bare=False)
        # As attributes of their own, so that this store can what the one inside can, and no more.
        for name in _PASSED_ON:
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    @cached_property
    def _hands(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="look")

    def probe(self) -> Root:
        return self._inner.probe()

    def list(self, folder: bytes) -> Iterator[Entry]:
        return self._looked(folder, self._inner.list(folder))

    def _looked(self, folder: bytes, listing: Iterable[Entry]) -> Iterator[Entry]:
        waiting: deque[Future[Entry | None]] = deque()
        try:
            for entry in listing:
                waiting.append(self._hands.submit(self._look, folder, entry))
                if len(waiting) >= _AHEAD and (found := waiting.popleft().result()) is not None:
                    yield found
            while waiting:
                if (found := waiting.popleft().result()) is not None:
                    yield found
        finally:
            for future in waiting:
                future.cancel()

    def _look(self, folder: bytes, entry: Entry) -> Entry | None:
        try:
            return self._inner.told(folder, entry)
        except StoreError:
            return entry

    def stat(self, path: bytes) -> Entry | None:
        return self._inner.stat(path)

    def open(self, path: bytes) -> Reader:
        return self._inner.open(path)

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        self._inner.put(path, content, like, expect)

    def remove(self, path: bytes, expect: Entry) -> None:
        self._inner.remove(path, expect)

    def close(self) -> None:
        if "_hands" in vars(self):
            self._hands.shutdown(cancel_futures=True)
        self._inner.close()
