"""The calls on objects: list, look, read, write whole, copy in place, delete.  Called by `store` and `uploads`.

The service checks what it receives: by the signed SHA-256 over plain HTTP, else by CRC-64/NVME where it turns out
to know that, which the first write finds out, else by MD5.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from urllib.parse import quote_from_bytes

from wherry.stores.http import quoting
from wherry.stores.http.checksum import crc64, md5
from wherry.stores.http.wire import Answer
from wherry.stores.s3 import listing
from wherry.stores.s3.service import Service, is_unknown

Settle = Callable[[], bool | None]
CRC = "x-amz-checksum-crc64nvme"
META = "x-amz-meta-"
_TYPE = {"content-type": "application/octet-stream"}
# What a copy in place would lose unless it says it again.
_KEPT = (
    "cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires",
    "x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled", "x-amz-website-redirect-location",
)  # fmt: skip


def metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """The headers that carry metadata."""
    return {META + key.lower(): value for key, value in metadata.items()}


def quoted(data: bytes) -> str:
    """The value of a query."""
    return quote_from_bytes(data, safe="")


def crc(data: bytes | memoryview) -> str:
    """The value of the header `CRC`."""
    return base64.b64encode(crc64(data).to_bytes(8, "big")).decode()


def condition(etag: str | None) -> dict[str, str]:
    """The header that names what has to be there: this version, or nothing."""
    return {"if-none-match": "*"} if etag is None else {"if-match": f'"{etag}"'}


def kept(now: Answer) -> dict[str, str]:
    """The headers of an object that are not metadata and that stay when it is written anew."""
    return {name: now.headers[name] for name in _KEPT if now.headers.get(name)}


class Objects:
    """The calls on the objects of one bucket."""

    def __init__(self, service: Service) -> None:
        self._service = service
        # Whether the service knows CRC-64; None before anybody has asked.
        self.knows_crc: bool | None = None if service.secure else False

    # ------------------------------------------------------------ reading

    def list(self, prefix: bytes, token: str = "", most: int = 1000) -> tuple[listing.Page, Answer]:
        """One page of what lies right below `prefix`, with the answer that brought it."""
        query = {
            "list-type": "2", "encoding-type": "url", "delimiter": "%2F", "max-keys": str(most),
            "prefix": quoted(prefix),
        }  # fmt: skip
        if token:
            query["continuation-token"] = quoted(token.encode())
        answer = self._service.checked(self._service.ask("GET", None, query), None)
        return listing.page(answer.body), answer

    def head(self, key: bytes) -> Answer | None:
        """The properties and metadata of an object; None when it is not there."""
        answer = self._service.ask("HEAD", key, {})
        return None if answer.status == 404 else self._service.checked(answer, key)

    def open(self, key: bytes, size: int) -> Answer | None:
        """The properties and metadata of an object with its first bytes; None when it is not there or empty."""
        answer = self._service.ask("GET", key, {}, {"range": f"bytes=0-{size - 1}"})
        if answer.status == 416 or (answer.status == 404 and answer.code in ("", "NoSuchKey")):
            return None
        return self._service.checked(answer, key)

    def get(self, key: bytes, offset: int, size: int, etag: str) -> bytes | memoryview:
        """Up to `size` bytes of this version of an object.  Raises `Conflict` when it is another one."""
        headers = {"range": f"bytes={offset}-{offset + size - 1}", **condition(etag)}
        answer = self._service.ask("GET", key, {}, headers)
        if answer.status == 416:
            return b""
        self._service.checked(answer, key)
        # A service may give the whole of it.
        return answer.body if answer.status == 206 else memoryview(answer.body)[offset : offset + size]

    # ------------------------------------------------------------ changing

    def put(
        self, key: bytes, data: bytes | memoryview, metadata: Mapping[str, str], condition: Mapping[str, str],
        settle: Settle | None,
    ) -> Answer | bool:  # fmt: skip
        """PutObject; the answer is not checked."""
        headers = {**_TYPE, **condition, **metadata_headers(metadata)}
        if self.knows_crc is None:
            return self._first_put(key, data, headers, settle)
        headers |= self.checksum(data)
        return self._service.change("PUT", key, {}, headers, data, settle)

    def new_object(self, key: bytes, data: bytes, metadata: Mapping[str, str]) -> bytes | None:
        """The head of a PutObject where nothing is; None before the service's checksum is known."""
        if self.knows_crc is None:
            return None
        headers = {**_TYPE, **condition(None), **metadata_headers(metadata), **self.checksum(data)}
        return self._service.head("PUT", key, {}, headers, data)

    def _first_put(
        self, key: bytes, data: bytes | memoryview, headers: dict[str, str], settle: Settle | None
    ) -> Answer | bool:
        """One with both checksums: a service that knows CRC-64 repeats it."""
        plain = {**headers, "content-md5": md5(data)}
        expected = crc(data)
        answer = self._service.change("PUT", key, {}, {**plain, CRC: expected}, data, settle)
        if isinstance(answer, Answer):
            if 200 <= answer.status < 300:
                self.knows_crc = answer.headers.get(CRC) == expected
            elif is_unknown(answer):
                self.knows_crc = False
                return self._service.change("PUT", key, {}, plain, data, settle)
        return answer

    def checksum(self, data: bytes | memoryview) -> dict[str, str]:
        """The header by which the service checks the body; none where the signature covers it."""
        if not self._service.secure:
            return {}
        return {CRC: crc(data)} if self.knows_crc else {"content-md5": md5(data)}

    def copy(
        self, key: bytes, now: Answer, metadata: Mapping[str, str], settle: Settle | None
    ) -> Answer | bool:
        """CopyObject onto itself: other metadata for the same bytes; the answer is not checked."""
        headers = {
            **kept(now),
            **metadata_headers(metadata),
            **self.source(key, now.headers.get("etag", "").strip('"')),
        }
        headers["x-amz-metadata-directive"] = "REPLACE"
        return self._service.change("PUT", key, {}, headers, b"", settle)

    def source(self, key: bytes, etag: str) -> dict[str, str]:
        """The headers that name this version of an object as what is copied."""
        place = self._service.place
        return {
            "x-amz-copy-source": f"/{place.bucket}/{quoting.quoted(key)}",
            "x-amz-copy-source-if-match": f'"{etag}"',
        }

    def delete(self, key: bytes, condition: Mapping[str, str], settle: Settle | None) -> Answer | bool:
        """DeleteObject; the answer is not checked."""
        return self._service.change("DELETE", key, {}, condition, b"", settle)
