"""Listings of objects, of open uploads and of their parts, out of the service's XML.

Keys are asked for percent-encoded, since XML cannot hold all of them; a service that says nothing of it has not
done so.  Called by `objects` and `multipart`.
"""

from __future__ import annotations

import calendar
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes
from xml.etree.ElementTree import Element

from wherry.model.errors import StoreError
from wherry.stores.http.xml import parse

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z")


class Listed(NamedTuple):
    """One object of a page; `changed` in seconds since 1970, as other answers tell it."""

    key: bytes
    size: int
    changed: int
    etag: str


class Page(NamedTuple):
    """Some objects and prefixes, and the token that brings the next ones ('' at the end)."""

    objects: list[Listed]
    prefixes: list[bytes]
    token: str


class Part(NamedTuple):
    """One part of an open upload."""

    etag: str
    size: int


def page(document: bytes | memoryview) -> Page:
    """The page that a ListObjectsV2 answer holds."""
    root = _root(document, "ListBucketResult")
    encoded = _is_encoded(root)
    objects = [_object(element, encoded) for element in root.iterfind("Contents")]
    prefixes = [_key(element, "Prefix", encoded) for element in root.iterfind("CommonPrefixes")]
    truncated = (root.findtext("IsTruncated") or "").strip() == "true"
    token = root.findtext("NextContinuationToken") or ""
    if truncated and not token:
        raise StoreError("the service's listing does not say how it goes on")
    return Page(objects, prefixes, token if truncated else "")


def _object(element: Element, encoded: bool) -> Listed:
    return Listed(
        _key(element, "Key", encoded),
        _number(element.findtext("Size")),
        moment(element.findtext("LastModified") or ""),
        (element.findtext("ETag") or "").strip('"'),
    )


def uploads(document: bytes | memoryview) -> list[tuple[bytes, str]]:
    """Key and id of each upload of a ListMultipartUploads answer."""
    root = _root(document, "ListMultipartUploadsResult")
    encoded = _is_encoded(root)
    return [
        (_key(one, "Key", encoded), one.findtext("UploadId") or "")
        for one in root.iterfind("Upload")
        if one.findtext("UploadId")
    ]


def parts(document: bytes | memoryview) -> tuple[dict[int, Part], int]:
    """The parts of a ListParts answer by their numbers, and the number after which the next ones come (0: none)."""
    root = _root(document, "ListPartsResult")
    found = {
        _number(one.findtext("PartNumber")): Part(
            (one.findtext("ETag") or "").strip('"'), _number(one.findtext("Size"))
        )
        for one in root.iterfind("Part")
    }
    if (root.findtext("IsTruncated") or "").strip() != "true":
        return found, 0
    return found, _number(root.findtext("NextPartNumberMarker"))


def upload_id(document: bytes | memoryview) -> str:
    """The id in an InitiateMultipartUpload answer."""
    found = _root(document, "InitiateMultipartUploadResult").findtext("UploadId")
    if not found:
        raise StoreError("the service gives its upload no id")
    return found


def etag(document: bytes | memoryview) -> str:
    """The etag in the answer to a copy."""
    return (parse(bytes(document).lstrip()).findtext("ETag") or "").strip('"')


def _root(document: bytes | memoryview, tag: str) -> Element:
    root = parse(document)
    if root.tag != tag:
        raise StoreError(f"the service's answer is no {tag}")
    return root


def _is_encoded(root: Element) -> bool:
    return (root.findtext("EncodingType") or "").strip().lower() == "url"


def _key(element: Element, tag: str, encoded: bool) -> bytes:
    text = element.findtext(tag)
    if text is None:
        raise StoreError("the service's listing has an item without a name")
    # Blanks come as `+`, a plus as `%2B`.
    return unquote_to_bytes(text.replace("+", " ")) if encoded else text.encode()


def _number(text: str | None) -> int:
    text = (text or "").strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 20:
        raise StoreError("the service's listing lacks a number")
    return int(text)


@lru_cache(maxsize=4096)
def moment(text: str) -> int:
    """The seconds since 1970 of a time as listings write it; 0 when it is none."""
    found = _TIME.fullmatch(text.strip())
    return calendar.timegm(tuple(int(one) for one in found.groups())) if found else 0
