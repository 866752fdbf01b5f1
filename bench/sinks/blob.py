"""Answers as the Blob service gives them, for what movers ask while they fill an empty container.

Any credential will do. Listings are always empty, an object that has come is there for HEAD, staged blocks are there
for Get Block List. A condition that does not hold is refused, and so is a wrong CRC64 (of a large body, and a wrong
MD5, by a checked sink).
"""

from __future__ import annotations

import base64
import re
from typing import Literal

from bench.sinks.request import Request, expects, headers_of, reply, unchunked
from bench.sinks.tally import Part, Tally, Thing, metadata

META = b"x-ms-meta-"
CRC = b"x-ms-content-crc64"
_DATE = "Mon, 23 Nov 2026 06:00:00 GMT"
_ETAG = '"0x8DD0123456789AB"'
_COMMON = {
    "Server": "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0",
    "x-ms-request-id": "00000000-0000-0000-0000-000000000000",
    "x-ms-version": "2024-11-04",
    "Date": _DATE,
}
_CREATED = reply(
    "201 Created",
    {**_COMMON, "ETag": _ETAG, "Last-Modified": _DATE, "x-ms-request-server-encrypted": "true"},
)
_STAGED = reply("201 Created", {**_COMMON, "x-ms-request-server-encrypted": "true"})
_DONE = reply("200 OK", {**_COMMON, "ETag": _ETAG, "Last-Modified": _DATE})
_ACCEPTED = reply("202 Accepted", _COMMON)
_CONTAINER = reply(
    "200 OK",
    {
        **_COMMON, "ETag": _ETAG, "Last-Modified": _DATE, "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available", "x-ms-has-immutability-policy": "false", "x-ms-has-legal-hold": "false",
    },
)  # fmt: skip
_ACCOUNT = reply(
    "200 OK",
    {
        **_COMMON, "x-ms-sku-name": "Standard_LRS", "x-ms-account-kind": "StorageV2",
        "x-ms-is-hns-enabled": "false",
    },
)  # fmt: skip
_XML = '<?xml version="1.0" encoding="utf-8"?>'
_ID = re.compile(rb"<(?:Latest|Uncommitted|Committed)>([^<]*)</")


def _xml(body: str) -> bytes:
    return reply("200 OK", {**_COMMON, "Content-Type": "application/xml"}, (_XML + body).encode())


def _refused(status: str, code: str) -> bytes:
    return reply(status, {**_COMMON, "x-ms-error-code": code})


_NO_BLOB = _refused("404 The specified blob does not exist.", "BlobNotFound")
_CONDITION = _refused("412 Precondition Failed", "ConditionNotMet")
_NO_OPERATION = _refused("400 Bad Request", "UnsupportedHttpVerb")


class BlobDialect:
    """See the module; a `Dialect` of the loop."""

    crc = CRC

    def __init__(self) -> None:
        self.tally = Tally()

    def wants_body(self, request: Request) -> bool:
        return b"comp=blocklist" in request.query and request.method == b"PUT"

    def answer(self, request: Request) -> bytes:
        if request.method == b"PUT":
            return self._put(request)
        words = request.words()
        if request.method == b"HEAD" and "restype" not in words:
            return self._head(request)
        if request.method in (b"GET", b"HEAD"):
            return self._get(request, words)
        if request.method == b"DELETE":
            self.tally.calls["Delete Blob"] += 1
            return _ACCEPTED if self.tally.things.pop(request.path, None) else _NO_BLOB
        self.tally.refused += 1
        return _NO_OPERATION

    # ------------------------------------------------------------ writes

    def _put(self, request: Request) -> bytes:
        query = request.query
        if (wrong := damaged(request, CRC, "little")) is not None:
            self.tally.calls[f"refused: {wrong}"] += 1
            return _refused("400 Bad Request", wrong)
        if b"comp=" not in query and b"restype=" not in query:
            return self._whole(request)
        if b"comp=blocklist" in query:
            return self._commit(request)
        words = request.words()
        if words.get("comp") == "block":
            self.tally.calls["Put Block"] += 1
            part = Part(_size(request), _digest(request))
            self.tally.parts.setdefault(request.path, {})[words.get("blockid", "")] = part
            return _STAGED
        if words.get("restype") == "container":
            self.tally.calls["Create Container"] += 1
            return _DONE
        self.tally.calls[f"Put {words.get('comp', '')}"] += 1
        return self._changed(request, words["comp"])

    def _whole(self, request: Request) -> bytes:
        tally = self.tally
        tally.calls["Put Blob"] += 1
        if not expects(request.head, request.path in tally.things):
            return _CONDITION
        thing = Thing(_size(request), request.head)
        if digest := _digest(request):
            thing.digests.append((thing.size, digest))
        tally.keep(request.path, thing)
        return _CREATED

    def _commit(self, request: Request) -> bytes:
        self.tally.calls["Put Block List"] += 1
        if not expects(request.head, request.path in self.tally.things):
            return _CONDITION
        staged = self.tally.parts.pop(request.path, {})
        wanted = [part.decode() for part in _ID.findall(bytes(request.body or b""))]
        if any(part not in staged for part in wanted):
            self.tally.refused += 1
            return _refused("400 Bad Request", "InvalidBlockList")
        digests = [(staged[part].size, staged[part].digest) for part in wanted if staged[part].digest]
        size = sum(staged[part].size for part in wanted)
        self.tally.keep(request.path, Thing(size, request.head, digests))
        return _CREATED

    def _changed(self, request: Request, what: str) -> bytes:
        thing = self.tally.things.get(request.path)
        if thing is None:
            return _NO_BLOB
        if what == "metadata":
            thing.head = request.head
        return _DONE

    # ------------------------------------------------------------ reads

    def _head(self, request: Request) -> bytes:
        self.tally.calls["Get Blob Properties"] += 1
        thing = self.tally.things.get(request.path)
        if thing is None:
            return _NO_BLOB
        headers = {
            **_COMMON, "ETag": _ETAG, "Last-Modified": _DATE, "x-ms-blob-type": "BlockBlob",
            "Content-Length": str(thing.size), "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream",
            **{f"x-ms-meta-{name}": value for name, value in metadata(thing.head, META).items()},
        }  # fmt: skip
        kept = headers_of(thing.head)
        checksum = kept.get(b"x-ms-blob-content-md5") or kept.get(b"content-md5")
        if checksum:
            headers["Content-MD5"] = checksum.decode("latin-1")
        return reply("200 OK", headers)

    def _get(self, request: Request, words: dict[str, str]) -> bytes:
        if words.get("comp") == "list":
            self.tally.calls["List Blobs"] += 1
            return _xml(
                '<EnumerationResults ServiceEndpoint="" ContainerName=""><Blobs></Blobs><NextMarker />'
                "</EnumerationResults>"
            )
        if words.get("comp") == "blocklist":
            return self._blocks(request)
        if words.get("restype") == "container":
            self.tally.calls["Get Container Properties"] += 1
            return _CONTAINER
        if words.get("restype") == "account":
            self.tally.calls["Get Account Information"] += 1
            return _ACCOUNT
        self.tally.calls["Get Blob"] += 1
        return _NO_BLOB

    def _blocks(self, request: Request) -> bytes:
        self.tally.calls["Get Block List"] += 1
        staged = self.tally.parts.get(request.path)
        if not staged:
            return _NO_BLOB
        blocks = "".join(
            f"<Block><Name>{name}</Name><Size>{part.size}</Size></Block>" for name, part in staged.items()
        )
        return _xml(f"<BlockList><UncommittedBlocks>{blocks}</UncommittedBlocks></BlockList>")


def _size(request: Request) -> int:
    return len(unchunked(bytes(request.body))) if request.body is not None else request.length


def _digest(request: Request) -> str:
    return request.digest.hexdigest() if request.digest is not None else ""


def damaged(request: Request, header: bytes, order: Literal["little", "big"]) -> str | None:
    """The service's word for a checksum that does not fit the body, where it was made; None when all is well."""
    if request.crc is not None:
        told = request.header(header)
        if told is not None and told != base64.b64encode(request.crc.to_bytes(8, order)):
            return "Crc64Mismatch"
    if request.md5 is not None:
        told = request.header(b"content-md5")
        if told is not None and told != base64.b64encode(request.md5.digest()):
            return "Md5Mismatch"
    return None


def content_md5(head: bytes) -> str:
    """The MD5 that a request says its body has, in hexadecimal digits; empty when it says none."""
    said = headers_of(head).get(b"content-md5")
    return base64.b64decode(said).hex() if said else ""
