"""An open object: one version of it, of which the first bytes came when it was opened.

A small file is one request in all: what opens it brings its bytes, and they are of the version that their etag
names.  Called by the engine through the port.
"""

from __future__ import annotations

from collections.abc import Callable

from wherry.model import names
from wherry.model.entry import Attributes, Entry
from wherry.model.errors import Changed
from wherry.stores.http.metadata import attributes_of

Look = Callable[[bytes], Entry | None]
Read = Callable[[bytes, int, int, str], bytes | memoryview]


class ObjectReader:
    """One version of an object; another one in its place is `Changed`.

    `look` tells what is at a path now; `read` gives bytes of one version (path, offset, size, etag) and raises
    `Changed` when it is another one or gone.
    """

    def __init__(self, path: bytes, entry: Entry, start: bytes | memoryview, look: Look, read: Read) -> None:
        self._path = path
        self._entry = entry
        self._start = start
        self._look = look
        self._read = read

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
        return self._read(self._path, offset, end - offset, self._entry.etag)

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        now = self._look(self._path)
        if now is None:
            raise Changed(f"{names.escape(self._path)}: the object is gone")
        return now

    def attributes(self) -> Attributes:
        return attributes_of(self._entry.extra)

    def close(self) -> None:
        """Nothing to let go of: the connection is the thread's."""
