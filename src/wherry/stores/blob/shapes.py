"""Entries out of what the service tells of its blobs, and conditions out of entries.  Called by `store`."""

from __future__ import annotations

from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Conflict, StoreError
from wherry.stores.blob import hierarchy
from wherry.stores.blob.listing import Blob
from wherry.stores.http.metadata import FOLDER, entry_of
from wherry.stores.http.wire import Answer

_META = "x-ms-meta-"


def listed(blob: Blob, name: bytes) -> Entry:
    """The entry of a blob of a listing."""
    entry = entry_of(name, blob.size, blob.last_modified, blob.etag, blob.metadata)
    return _with_access(entry, blob.permissions) if blob.permissions else entry


def answered(name: bytes, answer: Answer, access: bool = False) -> Entry:
    """The entry of a blob whose properties, or first bytes, an answer brought.

    `access`: its permissions are those that the service goes by.
    """
    headers = answer.headers
    total = headers.get("content-range", "").rpartition("/")[2] or headers.get("content-length", "0")
    entry = entry_of(
        name,
        int(total) if total.isdecimal() else 0,
        headers.get("last-modified", ""),
        headers.get("etag", ""),
        metadata_in(answer),
    )
    return _with_access(entry, headers.get("x-ms-permissions", "")) if access else entry


def metadata_in(answer: Answer) -> dict[str, str]:
    """The metadata of the blob, keys in lower case."""
    found = {key[len(_META) :]: value for key, value in answer.headers.items() if key.startswith(_META)}
    if answer.headers.get("x-ms-resource-type", "").lower() == "directory":
        found[FOLDER] = "true"
    return found


def prefix_entry(name: bytes) -> Entry:
    """A folder that is only the prefix of what lies in it."""
    # An empty name (`a//b`) is nothing that any folder can hold.
    return Entry(name, Kind.FOLDER if name else Kind.SPECIAL, sealed=False)


def below(prefix: bytes, name: bytes) -> bytes:
    """The name in its folder; a listing that tells of other places is not believed."""
    rest = name[len(prefix) :]
    if not name.startswith(prefix) or b"/" in rest:
        raise StoreError("the service's listing tells of another folder")
    return rest


def etag_of(path: bytes, expect: Entry | None) -> str | None:
    """The etag that has to be there; None when nothing may be there."""
    if expect is None or (expect.kind is Kind.FOLDER and not expect.sealed and not expect.etag):
        return None
    if not expect.etag:
        raise Conflict(f"{names.escape(path)}: nothing says which version is meant")
    return expect.etag


def utf16(text: bytes) -> str:
    """As many characters as the name has UTF-16 units."""
    return "x" * (len(text.decode("utf-8", "replace").encode("utf-16-le")) // 2)


def _with_access(entry: Entry, text: str) -> Entry:
    """With the permissions that the service goes by; the bits that it does not know stay those of the metadata."""
    now = hierarchy.permissions(text)
    if now is None or entry.mode is None or entry.kind is Kind.LINK:
        return entry
    return entry._replace(mode=entry.mode & 0o7000 | now)
