"""The calls of the Blob service that a mover needs.

Whatever changes something is conditional, carries a checksum that the service compares, and settles an unknown
outcome by what the caller gives for that.  A put of a small file is made by one format.  Called by `store`.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import threading
from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from typing import TypeVar
from urllib.parse import quote, quote_from_bytes

from wherry.model.errors import Conflict
from wherry.stores.blob import listing
from wherry.stores.blob.service import Service, Settle, checked, condition, lines, told
from wherry.stores.http import checksum
from wherry.stores.http.patience import Patience
from wherry.stores.http.quoting import quoted
from wherry.stores.http.wire import Answer, Wire
from wherry.stores.port import Fence

_PUT = "x-ms-blob-type: BlockBlob\r\nContent-Type: application/octet-stream\r\n"
# A body and a checksum that is not its own, which whoever checks must refuse; an id as long as those of parts.
_PROBE = b"?"
_WRONG = "x-ms-content-crc64: AAAAAAAAAAA=\r\n"
_PROBE_ID = "0" * 31
_PROVEN = "proven"
_NOBODY = b".wherry-probe-"
_NO_VERSION = "0x0"
_NOTHING = condition(None)

_T = TypeVar("_T")


class Requests(Service):
    """The calls on one container; names of blobs are raw bytes."""

    def __init__(self, wire: Wire, sas: str, fence: Fence, patience: Patience) -> None:
        super().__init__(wire, sas, fence, patience)
        self._put = self._query("") + self._rest + _PUT
        self._crc: bool | None = None
        self._probing = threading.Lock()

    # ------------------------------------------------------------ reading

    def list(
        self, prefix: bytes, marker: str = "", most: int = 5000, access: bool = False
    ) -> tuple[listing.Page, Answer]:
        """One page of what lies right below `prefix`, with the answer that brought it.

        `access`: with the permissions that a hierarchical account goes by.
        """
        include = "metadata%2Cpermissions" if access else "metadata"
        query = (
            f"restype=container&comp=list&delimiter=%2F&include={include}&maxresults={most}"
            f"&prefix={quote_from_bytes(prefix, safe='')}&marker={quote(marker, safe='')}"
        )
        answer = checked(self._read("GET", None, query), None)
        return listing.page(answer.body), answer

    def head(self, name: bytes) -> Answer | None:
        """The properties and metadata of a blob; None when it is not there."""
        answer = self._read("HEAD", name)
        if answer.status == 404 and answer.code in ("", "BlobNotFound"):
            return None
        return checked(answer, name)

    def open(self, name: bytes, size: int) -> Answer | None:
        """The properties and metadata of a blob with its first bytes; None when it is not there or empty."""
        answer = self._read("GET", name, headers=f"x-ms-range: bytes=0-{size - 1}\r\n")
        if answer.status == 416 or (answer.status == 404 and answer.code in ("", "BlobNotFound")):
            return None
        return checked(answer, name)

    def get(self, name: bytes, offset: int, size: int, etag: str) -> bytes | memoryview:
        """Up to `size` bytes of this version of a blob.  Raises `Conflict` when it is another one."""
        headers = f"x-ms-range: bytes={offset}-{offset + size - 1}\r\n{condition(etag)}"
        answer = self._read("GET", name, headers=headers)
        return b"" if answer.status == 416 else checked(answer, name).body

    def uncommitted(self, name: bytes) -> dict[str, int]:
        """Sizes of the staged blocks of a blob by their decoded ids."""
        answer = self._read("GET", name, "comp=blocklist&blocklisttype=uncommitted")
        if answer.status == 404:
            return {}
        blocks = {}
        for coded, size in listing.uncommitted(checked(answer, name).body):
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
        self._change(self._put_head(name, data, lines(metadata), condition(etag)), name, data, settle)

    def new_blob(self, name: bytes, data: bytes, metadata: str) -> bytes | None:
        """The head of a Put Blob where nothing is; None before the service's checksum is known.

        `metadata`: its lines.
        """
        return None if self._crc is None else self._put_head(name, data, metadata, _NOTHING)

    def _put_head(self, name: bytes, data: bytes, metadata: str, condition: str) -> bytes:
        return (
            f"PUT {self._base}/{quoted(name)}{self._put}{condition}{self._checksum(name, data)}"
            f"{metadata}Content-Length: {len(data)}\r\n\r\n"
        ).encode("ascii")

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
            f"{self._checksum(name, body)}{lines(metadata)}"
        )
        self._change(self._head("PUT", name, "comp=blocklist", headers, len(body)), name, body, settle)

    def set_metadata(self, name: bytes, metadata: Mapping[str, str], etag: str, settle: Settle[_T]) -> None:
        """Set Blob Metadata: all of it."""
        headers = condition(etag) + lines(metadata)
        self._change(self._head("PUT", name, "comp=metadata", headers, 0), name, b"", settle)

    def delete(self, name: bytes, etag: str, settle: Settle[_T]) -> None:
        """Delete Blob: this version of it."""
        self._change(self._head("DELETE", name, "", condition(etag)), name, b"", settle)

    def check_rights(self, prefix: bytes) -> None:
        """Raise what the service says to any change: of a blob that is not there, a version that is not."""
        name = prefix + _NOBODY + secrets.token_hex(8).encode()
        with contextlib.suppress(Conflict):
            self.put(name, b"", {}, _NO_VERSION, lambda: None)

    # ------------------------------------------------------------ checksums

    def _checksum(self, name: bytes, data: bytes | memoryview) -> str:
        """The header by which the service checks what it receives."""
        if self._crc is None:
            self._probe(name)
        if self._crc:
            coded = b2a_base64(checksum.crc64(data).to_bytes(8, "little"), newline=False)
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
        answer = told(self._wire.exchange(head, _PROBE))
        # By its own name it would be damage on the way, and tried again.
        return answer._replace(code=_PROVEN) if answer.code == "Crc64Mismatch" else answer


def _block(block: str) -> str:
    return f"comp=block&blockid={quote(_coded(block), safe='')}"


def _coded(block: str) -> str:
    return base64.b64encode(block.encode()).decode()
