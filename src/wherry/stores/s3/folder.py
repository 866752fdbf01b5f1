"""A folder out of the pages of a listing, in the order of names.

A service sorts whole keys, in which a folder ends in a slash: `a-b` comes before `a/`, and the walk needs `a` first.
So a folder is read to its end and sorted here, each entry packed into some 70 bytes more than its name.  Called by
`store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct

from wherry.model.entry import Entry, Kind
from wherry.model.errors import StoreError
from wherry.stores.s3.listing import Page

# After the name come a zero, for the order, one byte for the kind, the etag, and this: size, time, length of the name.
_TAIL = Struct(">QQH")
_FILE, _FOLDER = b"\0f", b"\0d"


class Folder:
    """What lies right below `prefix`; `is_there`: something does, or it has a marker of its own."""

    def __init__(self, prefix: bytes, pages: Iterable[Page]) -> None:
        self._rows: list[bytes] = []
        self.is_there = False
        for page in pages:
            self._rows += _rows(prefix, page)
            self.is_there = self.is_there or bool(page.objects or page.prefixes)
        self._rows.sort()

    def __iter__(self) -> Iterator[Entry]:
        last = (b"", b"")
        for row in self._rows:
            size, changed, length = _TAIL.unpack_from(row, len(row) - _TAIL.size)
            name, kind = row[:length], row[length : length + 2]
            if (name, kind) == last:
                continue
            last = name, kind
            if kind == _FOLDER or not name:
                yield prefix_entry(name)
            else:
                etag = row[length + 2 : -_TAIL.size].decode()
                yield Entry(name, Kind.FILE, size, changed=changed * 10**9, etag=etag)


def prefix_entry(name: bytes) -> Entry:
    """A folder of which nobody knows yet whether it has a marker."""
    # An empty name (`a//b`) is nothing that any folder can hold.
    return Entry(name, Kind.FOLDER if name else Kind.SPECIAL, sealed=False)


def _rows(prefix: bytes, page: Page) -> Iterator[bytes]:
    for key, size, changed, etag in page.objects:
        if key != prefix:
            name = _below(prefix, key)
            yield b"".join([name, _FILE, etag.encode(), _TAIL.pack(size, changed, len(name))])
    for key in page.prefixes:
        name = _below(prefix, key.removesuffix(b"/"))
        yield b"".join([name, _FOLDER, _TAIL.pack(0, 0, len(name))])


def _below(prefix: bytes, key: bytes) -> bytes:
    """The name in its folder; a listing that tells of other places is not believed."""
    rest = key[len(prefix) :]
    if not key.startswith(prefix) or b"/" in rest or len(rest) > 0xFFFF:
        raise StoreError("the service's listing tells of another folder")
    return rest
