"""The calls of the Blob service that a mover needs, each with its retries and its errors.

The credential is a SAS: it is added to the query where the request leaves and stands in no message, error or
log.  Whatever changes something is conditional, asks the fence before each sending, and settles an unknown
outcome by what the caller gives for that.  A put is made by one format and, as long as nothing goes wrong, costs
nothing else: `Patience` is asked after the first attempt only.  Called by `store`.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar
from urllib.parse import quote, quote_from_bytes

from wherry.model import names
from wherry.model.errors import Conflict, Denied, Full, NotFound, StoreError, Unsafe, Unsupported
from wherry.stores.blob import listing
from wherry.stores.http import checksum
from wherry.stores.http.patience import Patience, after
from wherry.stores.http.wire import Answer, Lost, Unreached, Wire
from wherry.stores.port import Fence

VERSION = "2024-11-04"

_PLAIN = re.compile(r"[\t -~]*")
_UNQUOTED = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/"
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
_PUT = "x-ms-blob-type: BlockBlob\r\nContent-Type: application/octet-stream\r\n"
# A body and a checksum that is not its own, which whoever checks must refuse; an id as long as those of parts.
_PROBE = b"?"
_WRONG = "x-ms-content-crc64: AAAAAAAAAAA=\r\n"
_PROBE_ID = "0" * 31
_PROVEN = "proven"

_T = TypeVar("_T")
Settle = Callable[[], _T | None]


class Requests:
    """The calls on one container; names of blobs are raw bytes."""

    def __init__(self, wire: Wire, sas: str, fence: Fence, patience: Patience) -> None:
        if not _PLAIN.fullmatch(sas):
            raise Denied("The credential of the container is malformed.")
        self._wire = wire
        self._fence = fence
        self._patience = patience
        self._sas = sas.lstrip("?")
        address = wire.address
        self._base = address.path
        self._rest = f" HTTP/1.1\r\nHost: {address.netloc}\r\nx-ms-version: {VERSION}\r\n"
        self._put = self._query("") + self._rest + _PUT
        self._crc: bool | None = None
        self._probing = threading.Lock()

    # ------------------------------------------------------------ reading

    def list(self, prefix: bytes, marker: str = "", most: int = 5000) -> tuple[listing.Page, Answer]:
        """One page of what lies right below `prefix`, with the answer that brought it."""
        query = (
            f"restype=container&comp=list&delimiter=%2F&include=metadata&maxresults={most}"
            f"&prefix={quote_from_bytes(prefix, safe='')}&marker={quote(marker, safe='')}"
        )
        answer = _checked(self._read("GET", None, query), None)
        return listing.page(answer.body), answer

    def head(self, name: bytes) -> Answer | None:
        """The properties and metadata of a blob; None when it is not there."""
        answer = self._read("HEAD", name)
        if answer.status == 404 and answer.code in ("", "BlobNotFound"):
            return None
        return _checked(answer, name)

    def get(self, name: bytes, offset: int, size: int, etag: str) -> bytes | memoryview:
        """Up to `size` bytes of this version of a blob.  Raises `Conflict` when it is another one."""
        headers = f"x-ms-range: bytes={offset}-{offset + size - 1}\r\n{condition(etag)}"
        answer = self._read("GET", name, headers=headers)
        return b"" if answer.status == 416 else _checked(answer, name).body

    def uncommitted(self, name: bytes) -> dict[str, int]:
        """Sizes of the staged blocks of a blob by their decoded ids."""
        answer = self._read("GET", name, "comp=blocklist&blocklisttype=uncommitted")
        if answer.status == 404:
            return {}
        blocks = {}
        for coded, size in listing.uncommitted(_checked(answer, name).body):
            try:
                blocks[base64.b64decode(coded, validate=True).decode()] = size
            except ValueError:
                continue  # A block of somebody else's.
        return blocks

    def is_hierarchical(self) -> bool | None:
        """Get Account Information: whether folders are real; None when the service does not tell."""
        answer = self._read("HEAD", None, "restype=account&comp=properties")
        return {"true": True, "false": False}.get(answer.headers.get("x-ms-is-hns-enabled", "").lower())

    # ------------------------------------------------------------ changing

    def put(
        self, name: bytes, data: bytes, metadata: Mapping[str, str], etag: str | None, settle: Settle[_T]
    ) -> None:
        """Put Blob: the whole of a small one."""
        head = (
            f"PUT {self._base}/{quoted(name)}{self._put}{condition(etag)}{self._checksum(name, data)}"
            f"{_lines(metadata)}Content-Length: {len(data)}\r\n\r\n"
        ).encode("ascii")
        self._change(head, name, data, settle)

    def put_block(self, name: bytes, block: str, data: bytes | memoryview) -> None:
        """Put Block: to send it twice does no harm."""
        head = self._head("PUT", name, _block(block), self._checksum(name, data), len(data))
        self._change(head, name, data, None)

    def put_block_list(
        self, name: bytes, blocks: Iterable[str], metadata: Mapping[str, str], etag: str | None,
        settle: Settle[_T],
    ) -> None:  # fmt: skip
        """Put Block List: publish the blob that these blocks make."""
        coded = "".join(f"<Latest>{_coded(block)}</Latest>" for block in blocks)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{coded}</BlockList>'.encode()
        headers = (
            f"x-ms-blob-content-type: application/octet-stream\r\n{condition(etag)}"
            f"{self._checksum(name, body)}{_lines(metadata)}"
        )
        self._change(self._head("PUT", name, "comp=blocklist", headers, len(body)), name, body, settle)

    def set_metadata(self, name: bytes, metadata: Mapping[str, str], etag: str, settle: Settle[_T]) -> None:
        """Set Blob Metadata: all of it."""
        headers = condition(etag) + _lines(metadata)
        self._change(self._head("PUT", name, "comp=metadata", headers, 0), name, b"", settle)

    def delete(self, name: bytes, etag: str, settle: Settle[_T]) -> None:
        """Delete Blob: this version of it."""
        self._change(self._head("DELETE", name, "", condition(etag)), name, b"", settle)

    # ------------------------------------------------------------ checksums

    def _checksum(self, name: bytes, data: bytes | memoryview) -> str:
        """The header by which the service checks what it receives."""
        if self._crc is None:
            self._probe(name)
        if self._crc:
            coded = base64.b64encode(checksum.crc64(data).to_bytes(8, "little"))
            return f"x-ms-content-crc64: {coded.decode()}\r\n"
        return f"Content-MD5: {checksum.md5(data)}\r\n"

    def _probe(self, name: bytes) -> None:
        """Find out whether the service checks CRC64, once: by what it must refuse.

        Where it does not, a block of one byte is left that the next put of this name takes away.
        """
        with self._probing:
            if self._crc is not None:
                return
            head = self._head("PUT", name, _block(_PROBE_ID), _WRONG, len(_PROBE))
            self._fence()
            self._crc = self._patience.persist(lambda: self._refusal(head)).code == _PROVEN

    def _refusal(self, head: bytes) -> Answer:
        answer = _read(self._wire.exchange(head, _PROBE))
        # By its own name it would be damage on the way, and tried again.
        return answer._replace(code=_PROVEN) if answer.code == "Crc64Mismatch" else answer

    # ------------------------------------------------------------ on the way

    def _read(self, method: str, name: bytes | None, query: str = "", headers: str = "") -> Answer:
        head = self._head(method, name, query, headers)
        bodiless = method == "HEAD"
        answer: Answer = self._patience.persist(lambda: _read(self._wire.exchange(head, bodiless=bodiless)))
        return answer

    def _change(self, head: bytes, name: bytes, body: bytes | memoryview, settle: Settle[_T] | None) -> None:
        self._fence()
        first: Answer | Exception
        try:
            answer = self._wire.exchange(head, body)
            if 200 <= answer.status < 300:
                return
            first = _read(answer)
        except (Lost, Unreached) as error:
            first = error

        def send() -> Answer:
            self._fence()
            return _read(self._wire.exchange(head, body))

        outcome = self._patience.persist(after(first, send), settle)
        if isinstance(outcome, Answer):
            _checked(outcome, name)

    def _query(self, query: str) -> str:
        queries = "&".join(part for part in (query, self._sas) if part)
        return f"?{queries}" if queries else ""

    def _head(
        self, method: str, name: bytes | None, query: str, headers: str, length: int | None = None
    ) -> bytes:
        """The request up to its body; `headers` are whole lines."""
        path = self._base if name is None else f"{self._base}/{quoted(name)}"
        size = "" if length is None else f"Content-Length: {length}\r\n"
        return f"{method} {path}{self._query(query)}{self._rest}{headers}{size}\r\n".encode("ascii")


def quoted(name: bytes) -> str:
    """The name as a path of a URL has it."""
    return quote_from_bytes(name, safe="/~") if name.translate(None, _UNQUOTED) else name.decode("ascii")


def condition(etag: str | None) -> str:
    """The header that names what has to be there: this version, or nothing."""
    if etag is None:
        return "If-None-Match: *\r\n"
    if not _PLAIN.fullmatch(etag):
        raise Unsafe("a value that no header can carry")
    return f'If-Match: "{etag}"\r\n'


def _lines(metadata: Mapping[str, str]) -> str:
    """The headers of metadata, of which `metadata_of` lets through only what a header can carry."""
    return "".join([f"x-ms-meta-{key}: {value}\r\n" for key, value in metadata.items()])


def _block(block: str) -> str:
    return f"comp=block&blockid={quote(_coded(block), safe='')}"


def _coded(block: str) -> str:
    return base64.b64encode(block.encode()).decode()


def _read(answer: Answer) -> Answer:
    """The answer with the service's word for what is wrong."""
    code = answer.headers.get("x-ms-error-code", "")
    return answer._replace(code=code) if code else answer


def _checked(answer: Answer, name: bytes | None) -> Answer:
    """The answer when it is a success, else what it means."""
    if 200 <= answer.status < 300:
        return answer
    made = _BY_CODE.get(answer.code) or _BY_STATUS.get(answer.status, StoreError)
    item = "the container" if name is None else names.escape(name)
    request = answer.headers.get("x-ms-request-id", "")
    raise made(
        f"{item}: the service answers {answer.status} {answer.code}".rstrip() + f" (request {request})"
    )
