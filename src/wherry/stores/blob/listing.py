"""A page of a listing, and a block list, out of the service's XML.

Called by `requests`.
"""

from __future__ import annotations

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


def page(document: bytes | memoryview) -> Page:
    """The page that a List Blobs answer holds."""
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
