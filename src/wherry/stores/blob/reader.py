"""An open blob: one version of it, of which the first bytes came when it was opened.

A small file is one request in all: what opens it brings its bytes, and they are of the version that their etag
names.  Called by the engine through the port.
"""

from __future__ import annotations

from typing import Protocol

from wherry.model import names
from wherry.model.entry import Attributes, Entry
from wherry.model.errors import Changed
from wherry.stores.http.metadata import attributes_of


class Blobs(Protocol):
    """What a reader asks of its store."""

    def blob(self, path: bytes) -> Entry | None:
        """The blob of this name as it is now."""

    def read(self, path: bytes, offset: int, size: int, etag: str) -> bytes | memoryview:
        """Bytes of one version.  Raises `Changed` when it is another one or gone."""


class BlobReader:
    """One version of a blob; another one in its place is `Changed`."""

    def __init__(self, store: Blobs, path: bytes, entry: Entry, start: bytes | memoryview) -> None:
        self._store = store
        self._path = path
        self._entry = entry
        self._start = start

    def whole(self, version: Entry, check: bool) -> bytes | None:
        if len(self._start) != version.size or self._entry.version != version.version:
            return None
        return bytes(self._start)

    def read_at(self, offset: int, size: int) -> bytes | memoryview:
        end = min(offset + size, self._entry.size)
        if end <= offset:
            return b""
        if end <= len(self._start):
            return self._start[offset:end]
        return self._store.read(self._path, offset, end - offset, self._entry.etag)

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        now = self._store.blob(self._path)
        if now is None:
            raise Changed(f"{names.escape(self._path)}: the blob is gone")
        return now

    def attributes(self) -> Attributes:
        return attributes_of(self._entry.extra)

    def close(self) -> None:
        """Nothing to let go of: the connection is the thread's."""
