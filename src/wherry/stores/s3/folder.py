"""The entries of a folder out of the pages of a listing.  Called by `store`."""

from __future__ import annotations

from collections.abc import Iterator

from wherry.model.entry import Entry, Kind
from wherry.model.errors import StoreError
from wherry.stores.s3.listing import Page

# Of keys like `a//b` and `a/../b`; nothing that any folder can hold.
_NO_NAMES = frozenset({b"", b".", b".."})


def entries(prefix: bytes, page: Page) -> Iterator[Entry]:
    """What a page tells of what lies right below `prefix`; not the folder's own marker."""
    for key, size, changed, etag in page.objects:
        if key == prefix:
            continue
        name = _below(prefix, key)
        kind = Kind.SPECIAL if name in _NO_NAMES else Kind.FILE
        yield Entry(name, kind, size, changed=changed * 10**9, etag=etag)
    for key in page.prefixes:
        yield prefix_entry(_below(prefix, key.removesuffix(b"/")))


def prefix_entry(name: bytes) -> Entry:
    """A folder of which nobody knows yet whether it has a marker."""
    return Entry(name, Kind.SPECIAL if name in _NO_NAMES else Kind.FOLDER, sealed=False)


def _below(prefix: bytes, key: bytes) -> bytes:
    """The name in its folder; a listing that tells of other places is not believed."""
    rest = key[len(prefix) :]
    if not key.startswith(prefix) or b"/" in rest:
        raise StoreError("the service's listing tells of another folder")
    return rest
