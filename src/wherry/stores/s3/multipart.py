"""The calls on uploads in parts: begin, send a part, see what is there, complete, give up.  Called by `uploads`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wherry.model.errors import StoreError
from wherry.stores.http.checksum import md5
from wherry.stores.http.wire import Answer
from wherry.stores.s3 import listing
from wherry.stores.s3.listing import Part
from wherry.stores.s3.objects import CRC, Objects, Settle, crc, metadata_headers, quoted
from wherry.stores.s3.service import Service, is_unknown

_ALGORITHM = "x-amz-checksum-algorithm"


class Begun(NamedTuple):
    """An open upload; `crc`: its parts are checked by CRC-64."""

    id: str
    crc: bool


class Multipart:
    """The calls on the uploads of one bucket."""

    def __init__(self, service: Service, objects: Objects) -> None:
        self._service = service
        self._objects = objects

    def create(self, key: bytes, metadata: Mapping[str, str], more: Mapping[str, str] | None = None) -> Begun:
        """CreateMultipartUpload; `more` are headers of an object that is written anew."""
        headers = {"content-type": "application/octet-stream", **(more or {}), **metadata_headers(metadata)}
        asks_for_crc = self._service.secure and self._objects.knows_crc is not False
        wanted = {_ALGORITHM: "CRC64NVME", "x-amz-checksum-type": "FULL_OBJECT"} if asks_for_crc else {}
        answer = self._create(key, {**headers, **wanted})
        if wanted and is_unknown(answer):
            answer = self._create(key, headers)
        self._service.checked(answer, key)
        knows = bool(wanted) and answer.headers.get(_ALGORITHM) == "CRC64NVME"
        return Begun(listing.upload_id(answer.body), knows)

    def _create(self, key: bytes, headers: Mapping[str, str]) -> Answer:
        return self._service.change("POST", key, {"uploads": ""}, headers)

    def send(self, key: bytes, upload: Begun, number: int, data: bytes | memoryview) -> Part:
        """UploadPart: to send it twice does no harm."""
        headers = {}
        if self._service.secure:
            headers = {CRC: crc(data)} if upload.crc else {"content-md5": md5(data)}
        answer: Answer = self._service.change("PUT", key, _part(upload, number), headers, data)
        etag = self._service.checked(answer, key).headers.get("etag", "")
        return Part(etag.strip('"'), len(data))

    def copy(self, key: bytes, upload: Begun, number: int, first: int, size: int, etag: str) -> Part:
        """UploadPartCopy: a part out of the object itself."""
        headers = self._objects.source(key, etag)
        headers["x-amz-copy-source-range"] = f"bytes={first}-{first + size - 1}"
        answer: Answer = self._service.change("PUT", key, _part(upload, number), headers)
        return Part(listing.etag(self._service.checked(answer, key).body), size)

    def parts(self, key: bytes, upload: Begun) -> dict[int, Part] | None:
        """ListParts: what was sent so far; None when there is no such upload."""
        found: dict[int, Part] = {}
        marker = 0
        while True:
            query = {"uploadId": quoted(upload.id.encode()), "max-parts": "1000"}
            if marker:
                query["part-number-marker"] = str(marker)
            answer = self._service.ask("GET", key, query)
            if answer.status == 404:
                return None
            page, following = listing.parts(self._service.checked(answer, key).body)
            found |= page
            if not following:
                return found
            if following <= marker:
                raise StoreError("the service's listing of parts does not go on")
            marker = following

    def open(self, prefix: bytes) -> list[tuple[bytes, str]]:
        """ListMultipartUploads: key and id of the first uploads whose keys begin like this.

        Those of this very key are among them, for keys come sorted.
        """
        query = {"uploads": "", "encoding-type": "url", "prefix": quoted(prefix), "max-uploads": "1000"}
        return listing.uploads(self._service.checked(self._service.ask("GET", None, query), None).body)

    def complete(
        self, key: bytes, upload: Begun, parts: Iterable[tuple[int, Part]], condition: Mapping[str, str],
        settle: Settle | None,
    ) -> Answer | bool:  # fmt: skip
        """CompleteMultipartUpload; the answer is not checked."""
        inside = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{part.etag}"</ETag></Part>'
            for number, part in parts
        )
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'<CompleteMultipartUpload xmlns="{namespace}">{inside}</CompleteMultipartUpload>'.encode()
        headers = {"content-type": "application/xml", **condition}
        query = {"uploadId": quoted(upload.id.encode())}
        return self._service.change("POST", key, query, headers, body, settle)

    def abort(self, key: bytes, upload_id: str) -> None:
        """AbortMultipartUpload, of one that may be gone already."""
        answer: Answer = self._service.change("DELETE", key, {"uploadId": quoted(upload_id.encode())}, {})
        if answer.status != 404:
            self._service.checked(answer, key)


def _part(upload: Begun, number: int) -> dict[str, str]:
    return {"partNumber": str(number), "uploadId": quoted(upload.id.encode())}
