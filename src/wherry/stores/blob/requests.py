"""The calls of the Blob service that a mover needs, each with its retries and its errors.

The credential is a SAS: it is added to the query where the request leaves and stands in no message, error or
log.  Whatever changes something is conditional, asks the fence before each sending, and settles an unknown
outcome by what the caller gives for that.  Called by `store`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar
from urllib.parse import quote, quote_from_bytes
from xml.sax.saxutils import escape

from wherry.model import names
from wherry.model.errors import Conflict, Denied, Full, NotFound, StoreError, Unsafe, Unsupported
from wherry.stores.blob import listing
from wherry.stores.http.patience import Patience
from wherry.stores.http.wire import Answer, Wire
from wherry.stores.port import Fence

VERSION = "2024-11-04"

_PLAIN = re.compile(r"[\t -~]*")
_BY_CODE: dict[str, type[StoreError]] = {
    "BlobImmutableDueToPolicy": Denied,
    "BlobImmutableDueToLegalHold": Denied,
    "InvalidMetadata": Unsupported,
    "MetadataTooLarge": Unsupported,
    "InvalidResourceName": Unsupported,
    "InvalidUri": Unsupported,
    "OutOfRangeInput": Unsupported,
    "RequestBodyTooLarge": Unsupported,
    "RequestUrlTooLong": Unsupported,
    "InsufficientStorage": Full,
}
_BY_STATUS: dict[int, type[StoreError]] = {
    304: Conflict, 401: Denied, 403: Denied, 404: NotFound, 409: Conflict, 412: Conflict, 413: Unsupported,
    414: Unsupported, 507: Full,
}  # fmt: skip

_T = TypeVar("_T")


def checksum(data: bytes | memoryview) -> tuple[str, str]:
    """The header by which the service checks what it receives."""
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return "Content-MD5", base64.b64encode(digest).decode()


def condition(etag: str | None) -> tuple[str, str]:
    """The header that names what has to be there: this version, or nothing."""
    return ("If-None-Match", "*") if etag is None else ("If-Match", f'"{etag}"')


class Requests:
    """The calls on one container; names of blobs are raw bytes."""

    def __init__(self, wire: Wire, sas: str, fence: Fence, patience: Patience) -> None:
        if not _PLAIN.fullmatch(sas):
            raise Denied("The credential of the container is malformed.")
        self._wire = wire
        self._sas = sas.lstrip("?")
        self._fence = fence
        self._patience = patience

    # ------------------------------------------------------------ reading

    def list(self, prefix: bytes, marker: str = "", most: int = 5000) -> tuple[listing.Page, Answer]:
        """One page of what lies right below `prefix`, with the answer that brought it."""
        query = (
            f"restype=container&comp=list&delimiter=%2F&include=metadata&maxresults={most}"
            f"&prefix={quote_from_bytes(prefix, safe='')}&marker={quote(marker, safe='')}"
        )
        answer = self._read("GET", None, query)
        return listing.page(answer.body), answer

    def head(self, name: bytes) -> Answer | None:
        """The properties and metadata of a blob; None when it is not there."""
        answer = self._persist("HEAD", name)
        if answer.status == 404 and answer.code in ("", "BlobNotFound"):
            return None
        return self._checked(answer, name)

    def get(self, name: bytes, offset: int, size: int, etag: str) -> bytes | memoryview:
        """Up to `size` bytes of this version of a blob.  Raises `Conflict` when it is another one."""
        headers = {"x-ms-range": f"bytes={offset}-{offset + size - 1}", **dict([condition(etag)])}
        answer = self._persist("GET", name, headers=headers)
        return b"" if answer.status == 416 else self._checked(answer, name).body

    def uncommitted(self, name: bytes) -> dict[str, int]:
        """Sizes of the staged blocks of a blob by their decoded ids."""
        answer = self._persist("GET", name, "comp=blocklist&blocklisttype=uncommitted")
        if answer.status == 404:
            return {}
        blocks = {}
        for coded, size in listing.uncommitted(self._checked(answer, name).body):
            try:
                blocks[base64.b64decode(coded, validate=True).decode()] = size
            except ValueError:
                continue  # A block of somebody else's.
        return blocks

    # ------------------------------------------------------------ changing

    def put(
        self, name: bytes, data: bytes, metadata: Mapping[str, str], etag: str | None,
        settle: Callable[[], _T | None],
    ) -> None:  # fmt: skip
        """Put Blob: the whole of a small one."""
        headers = {
            "x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream",
            **dict([checksum(data), condition(etag)]), **_metadata_headers(metadata),
        }  # fmt: skip
        self._change("PUT", name, "", headers, data, settle)

    def put_block(self, name: bytes, block: str, data: bytes | memoryview) -> None:
        """Put Block: to send it twice does no harm."""
        query = f"comp=block&blockid={quote(base64.b64encode(block.encode()).decode(), safe='')}"
        self._change("PUT", name, query, dict([checksum(data)]), data, None)

    def put_block_list(
        self, name: bytes, blocks: Iterable[str], metadata: Mapping[str, str], etag: str | None,
        settle: Callable[[], _T | None],
    ) -> None:  # fmt: skip
        """Put Block List: publish the blob that these blocks make."""
        coded = "".join(
            f"<Latest>{escape(base64.b64encode(block.encode()).decode())}</Latest>" for block in blocks
        )
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{coded}</BlockList>'.encode()
        headers = {
            "x-ms-blob-content-type": "application/octet-stream",
            **dict([checksum(body), condition(etag)]), **_metadata_headers(metadata),
        }  # fmt: skip
        self._change("PUT", name, "comp=blocklist", headers, body, settle)

    def set_metadata(
        self, name: bytes, metadata: Mapping[str, str], etag: str, settle: Callable[[], _T | None]
    ) -> None:
        """Set Blob Metadata: all of it."""
        headers = {**dict([condition(etag)]), **_metadata_headers(metadata)}
        self._change("PUT", name, "comp=metadata", headers, b"", settle)

    def delete(self, name: bytes, etag: str, settle: Callable[[], _T | None]) -> None:
        """Delete Blob: this version of it."""
        self._change("DELETE", name, "", dict([condition(etag)]), b"", settle)

    # ------------------------------------------------------------ on the way

    def _read(self, method: str, name: bytes | None, query: str) -> Answer:
        return self._checked(self._persist(method, name, query), name)

    def _persist(
        self, method: str, name: bytes | None, query: str = "", headers: Mapping[str, str] | None = None
    ) -> Answer:
        head = self._head(method, name, query, headers or {}, 0)
        bodiless = method == "HEAD"
        answer: Answer = self._patience.persist(lambda: _read(self._wire.exchange(head, bodiless=bodiless)))
        return answer

    def _change(
        self, method: str, name: bytes, query: str, headers: Mapping[str, str], body: bytes | memoryview,
        settle: Callable[[], _T | None] | None,
    ) -> None:  # fmt: skip
        head = self._head(method, name, query, headers, len(body))

        def send() -> Answer:
            self._fence()
            return _read(self._wire.exchange(head, body))

        outcome = self._patience.persist(send, settle)
        if isinstance(outcome, Answer):
            self._checked(outcome, name)

    def _head(
        self, method: str, name: bytes | None, query: str, headers: Mapping[str, str], length: int
    ) -> bytes:
        """The request up to its body."""
        address = self._wire.address
        path = address.path if name is None else f"{address.path}/{quote_from_bytes(name, safe='/~')}"
        queries = "&".join(part for part in (query, self._sas) if part)
        lines = [f"{method} {path}{'?' if queries else ''}{queries} HTTP/1.1", f"Host: {address.netloc}"]
        lines.append(f"x-ms-version: {VERSION}")
        for key, value in headers.items():
            if not _PLAIN.fullmatch(value):
                raise Unsafe("a value that no header can carry")
            lines.append(f"{key}: {value}")
        if method == "PUT":
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def _checked(self, answer: Answer, name: bytes | None) -> Answer:
        """The answer when it is a success, else what it means."""
        if 200 <= answer.status < 300:
            return answer
        made = _BY_CODE.get(answer.code) or _BY_STATUS.get(answer.status, StoreError)
        item = "the container" if name is None else names.escape(name)
        request = answer.headers.get("x-ms-request-id", "")
        raise made(
            f"{item}: the service answers {answer.status} {answer.code}".rstrip() + f" (request {request})"
        )


def _read(answer: Answer) -> Answer:
    """The answer with the service's word for what is wrong."""
    code = answer.headers.get("x-ms-error-code", "")
    return answer._replace(code=code) if code else answer


def _metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"x-ms-meta-{key}": value for key, value in metadata.items()}
