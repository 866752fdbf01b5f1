"""A page of a listing, and a block list, out of the service's XML.

A page of 5,000 blobs is megabytes, of which little is needed.  So it is scanned for that, as far as it looks as the
service always writes it; whatever looks different goes to the parser, as one item or as a whole.  In text nobody can
write a `<`, so nothing that a tenant puts into names or values is taken for more.  Called by `requests`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes
from xml.etree.ElementTree import Element

from wherry.model.errors import StoreError
from wherry.stores.http.xml import parse


class Blob(NamedTuple):
    """One blob of a page; `name` is whole, keys of `metadata` are in lower case.

    `permissions` are those of a hierarchical account, where they were asked for.
    """

    name: bytes
    size: int
    last_modified: str
    etag: str
    metadata: dict[str, str]
    permissions: str = ""


class Page(NamedTuple):
    """Some blobs and prefixes, and what to ask for to get the next ones ('' at the end)."""

    blobs: list[Blob]
    prefixes: list[bytes]
    marker: str


_PREFIX = re.compile(rb"<BlobPrefix>.*?</BlobPrefix>", re.DOTALL)
_PAIR = re.compile(r"<([^\s<>/]+)(?: ?/>|>([^<]*)</)")


def page(document: bytes | memoryview) -> Page:
    """The page that a List Blobs answer holds."""
    try:
        found = _scanned(bytes(document))
    except (UnicodeDecodeError, StoreError):
        found = None
    return found or _parsed(document)


def _scanned(document: bytes) -> Page | None:
    """The page, None when it looks in any way different from what the service always writes."""
    start, end = document.find(b"<Blobs>"), document.rfind(b"</Blobs>")
    top, tail = document[: max(start, 0)], document[end:]
    if start < 0 or end < start or b"<EnumerationResults" not in top or b"</EnumerationResults>" not in tail:
        return None
    marker = _between(tail, b"<NextMarker>", b"</NextMarker>")
    if b"<!" in document or b"&" in marker:
        return None
    document.decode()  # What is not UTF-8 is no XML.
    blobs: list[Blob] = []
    prefixes: list[bytes] = []
    *chunks, last = document[start + 7 : end].split(b"</Blob>")
    for chunk in chunks:
        at = chunk.find(b"<Blob>")
        if at < 0 or not _take_prefixes(chunk[:at], prefixes):
            return None
        blob = _scanned_blob(chunk[at + 6 :])
        if blob is None:
            element = parse(chunk[at:] + b"</Blob>")
            blob = _blob(_name(element.find("Name")), element)
        blobs.append(blob)
    if not _take_prefixes(last, prefixes):
        return None
    return Page(blobs, prefixes, marker.decode())


def _take_prefixes(piece: bytes, prefixes: list[bytes]) -> bool:
    """Add the prefixes of a piece that holds nothing else; False when it does."""
    size = 0
    for found in _PREFIX.finditer(piece):
        size += len(found[0])
        name = _between(found[0], b"<BlobPrefix><Name>", b"</Name>")
        prefixes.append(name if name and b"&" not in name else _name(parse(found[0]).find("Name")))
    return size == len(piece.strip())


def _scanned_blob(inside: bytes) -> Blob | None:
    """A blob out of what stands in its element, None when that looks different."""
    properties, _, rest = inside.partition(b"</Properties>")
    metadata, closed, _ = rest.partition(b"</Metadata>")
    name = _between(properties, b"<Name>", b"</Name>")
    size = _between(properties, b"<Content-Length>", b"</") or b"0"
    if (
        not name
        or b"&" in name
        or not size.isdigit()
        or b"<Properties>" not in properties
        or b"&" in metadata
    ):
        return None
    if bool(closed) != metadata.startswith(b"<Metadata>") or rest.count(b"<Metadata") > 1:
        return None
    pairs = _PAIR.findall(metadata[10:].decode()) if closed else ()
    return Blob(
        name,
        int(size),
        _between(properties, b"<Last-Modified>", b"</").decode(),
        _between(properties, b"<Etag>", b"</").decode(),
        {key.lower(): value for key, value in pairs},
        _between(properties, b"<Permissions>", b"</").decode(),
    )


def _between(text: bytes, begin: bytes, end: bytes) -> bytes:
    start = text.find(begin)
    if start < 0:
        return b""
    start += len(begin)
    return text[start : text.find(end, start)]


def _parsed(document: bytes | memoryview) -> Page:
    root = parse(document)
    if root.tag != "EnumerationResults":
        raise StoreError("the service's answer is no listing")
    blobs: list[Blob] = []
    prefixes: list[bytes] = []
    for element in root.iterfind("./Blobs/*"):
        name = _name(element.find("Name"))
        if element.tag == "BlobPrefix":
            prefixes.append(name)
        elif element.tag == "Blob":
            blobs.append(_blob(name, element))
    return Page(blobs, prefixes, root.findtext("NextMarker") or "")


def _blob(name: bytes, element: Element) -> Blob:
    properties = element.find("Properties")
    if properties is None:
        raise StoreError("the service's listing lacks properties")
    length = properties.findtext("Content-Length") or "0"
    if not length.isdecimal():
        raise StoreError("the service's listing has a blob of no size")
    metadata = element.find("Metadata")
    return Blob(
        name,
        int(length),
        properties.findtext("Last-Modified") or "",
        properties.findtext("Etag") or "",
        {} if metadata is None else {pair.tag.lower(): pair.text or "" for pair in metadata},
        properties.findtext("Permissions") or "",
    )


def _name(element: Element | None) -> bytes:
    if element is None or element.text is None:
        raise StoreError("the service's listing has an item without a name")
    text = element.text.encode()
    # For what XML cannot hold.
    return unquote_to_bytes(text) if element.get("Encoded", "").lower() == "true" else text


def uncommitted(document: bytes | memoryview) -> Iterator[tuple[str, int]]:
    """Id and size of each uncommitted block of a Get Block List answer."""
    for block in parse(document).iterfind("./UncommittedBlocks/Block"):
        size = block.findtext("Size") or ""
        if size.isdecimal():
            yield block.findtext("Name") or "", int(size)
