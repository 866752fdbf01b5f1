"""Answers as S3 gives them, path style, for what movers ask while they fill an empty bucket.

Any signature will do. Listings of objects are always empty, those of uploads are not. A condition that does not hold
is refused, and so is a wrong CRC-64 (of a large body, and a wrong MD5, by a checked sink). An object's ETag is its
MD5 only where the request told it (Content-MD5): a mover that compares ETags with MD5 sums of its own sends that, and
the sink has nothing to compute.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import unquote
from xml.sax.saxutils import escape

from bench.sinks.blob import content_md5, damaged
from bench.sinks.request import Request, expects, headers_of, reply, unchunked
from bench.sinks.tally import Part, Tally, Thing, metadata

META = b"x-amz-meta-"
CRC = b"x-amz-checksum-crc64nvme"
_ALGORITHM = ("x-amz-checksum-algorithm", "x-amz-checksum-type")
_DATE = "Mon, 23 Nov 2026 06:00:00 GMT"
_COMMON = {"Server": "AmazonS3", "x-amz-request-id": "0000000000000000", "Date": _DATE}
_UNKNOWN_ETAG = "00000000000000000000000000000000-1"
_PUT = reply("200 OK", {**_COMMON, "ETag": f'"{_UNKNOWN_ETAG}"'})
_NOTHING = reply("204 No Content", _COMMON)
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_PART = re.compile(rb"<PartNumber>(\d+)</PartNumber>")
_DECODED = b"x-amz-decoded-content-length"


def _xml(body: str) -> bytes:
    return reply("200 OK", {**_COMMON, "Content-Type": "application/xml"}, (_XML + body).encode())


def _error(status: str, code: str) -> bytes:
    body = f"{_XML}<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    return reply(status, {**_COMMON, "Content-Type": "application/xml"}, body)


_NO_OBJECT = _error("404 Not Found", "NoSuchKey")
_NO_UPLOAD = _error("404 Not Found", "NoSuchUpload")
_CONDITION = _error("412 Precondition Failed", "PreconditionFailed")
_NO_KEY = reply("404 Not Found", _COMMON)
_BUCKET = reply("200 OK", {**_COMMON, "x-amz-bucket-region": "us-east-1"})


@dataclass
class _Upload:
    """An upload in parts that is not complete; its metadata is that of the head that began it."""

    path: bytes
    head: bytes


class S3Dialect:
    """See the module; a `Dialect` of the loop."""

    crc = CRC

    def __init__(self) -> None:
        self.tally = Tally()
        self._uploads: dict[str, _Upload] = {}
        self._begun = 0

    def wants_body(self, request: Request) -> bool:
        return request.method == b"POST"

    def answer(self, request: Request) -> bytes:
        if request.method == b"PUT":
            return self._put(request)
        words = request.words()
        if request.method == b"POST":
            return self._post(request, words)
        if request.method == b"DELETE":
            return self._delete(request, words)
        if _is_bucket(request.path):
            return self._bucket(request, words)
        if request.method == b"HEAD":
            return self._head(request)
        return self._get(request, words)

    # ------------------------------------------------------------ writes

    def _put(self, request: Request) -> bytes:
        if damaged(request, CRC, "big"):
            self.tally.calls["refused: BadDigest"] += 1
            return _error("400 Bad Request", "BadDigest")
        if b"partNumber=" in request.query:
            return self._part(request)
        if _is_bucket(request.path):
            self.tally.calls["CreateBucket"] += 1
            return _BUCKET
        if b"x-amz-copy-source" in request.head:
            return self._copied(request)
        there = request.path in self.tally.things
        if not expects(request.head, there):
            self.tally.calls["refused: PutObject"] += 1
            return _CONDITION if there else _NO_OBJECT
        self.tally.calls["PutObject"] += 1
        size, digest = _payload(request)
        etag = content_md5(request.head) if _tells(request) else ""
        self.tally.keep(request.path, Thing(size, request.head, [(size, digest)] if digest else [], etag))
        if not etag and CRC not in request.head:
            return _PUT
        return reply("200 OK", {**_COMMON, "ETag": f'"{etag or _UNKNOWN_ETAG}"', **_repeated(request)})

    def _copied(self, request: Request) -> bytes:
        """A copy onto itself, by which an object gets other metadata."""
        self.tally.calls["CopyObject"] += 1
        thing = self.tally.things.get(request.path)
        if thing is None:
            return _NO_OBJECT
        thing.head = request.head
        return _xml(
            f'<CopyObjectResult {_NAMESPACE}><ETag>"{thing.etag or _UNKNOWN_ETAG}"</ETag></CopyObjectResult>'
        )

    def _part(self, request: Request) -> bytes:
        self.tally.calls["UploadPart"] += 1
        words = request.words()
        if words.get("uploadId", "") not in self._uploads:
            return _NO_UPLOAD
        size, digest = _payload(request)
        etag = (
            content_md5(request.head)
            or hashlib.md5(f"{size} {words['partNumber']}".encode(), usedforsecurity=False).hexdigest()
        )
        staged = self.tally.parts.setdefault(words["uploadId"].encode(), {})
        staged[words["partNumber"]] = Part(size, digest, etag)
        return reply("200 OK", {**_COMMON, "ETag": f'"{etag}"', **_repeated(request)})

    def _post(self, request: Request, words: dict[str, str]) -> bytes:
        if "uploads" in words:
            return self._begin(request)
        if "uploadId" in words:
            return self._complete(request, words["uploadId"])
        self.tally.refused += 1
        return _error("501 Not Implemented", "NotImplemented")

    def _begin(self, request: Request) -> bytes:
        self.tally.calls["CreateMultipartUpload"] += 1
        self._begun += 1
        upload = f"upload-{self._begun:06d}"
        self._uploads[upload] = _Upload(request.path, request.head)
        bucket, key = _named(request.path)
        body = (
            f"{_XML}<InitiateMultipartUploadResult {_NAMESPACE}><Bucket>{escape(bucket)}</Bucket>"
            f"<Key>{escape(key)}</Key><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        )
        said = headers_of(request.head)
        told = {name: said[name.encode()].decode("latin-1") for name in _ALGORITHM if name.encode() in said}
        return reply("200 OK", {**_COMMON, "Content-Type": "application/xml", **told}, body.encode())

    def _complete(self, request: Request, upload: str) -> bytes:
        self.tally.calls["CompleteMultipartUpload"] += 1
        if upload not in self._uploads:
            return _NO_UPLOAD
        if not expects(request.head, there := request.path in self.tally.things):
            return _CONDITION if there else _NO_OBJECT
        staged = self.tally.parts.get(upload.encode(), {})
        wanted = [number.decode() for number in _PART.findall(bytes(request.body or b""))]
        if not wanted or any(number not in staged for number in wanted):
            self.tally.refused += 1
            return _error("400 Bad Request", "InvalidPart")
        parts = [staged[number] for number in wanted]
        joined = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
        etag = f"{joined.hexdigest()}-{len(parts)}"
        digests = [(part.size, part.digest) for part in parts if part.digest]
        size = sum(part.size for part in parts)
        self.tally.keep(request.path, Thing(size, self._uploads.pop(upload).head, digests, etag))
        del self.tally.parts[upload.encode()]
        bucket, key = _named(request.path)
        return _xml(
            f"<CompleteMultipartUploadResult {_NAMESPACE}><Bucket>{escape(bucket)}</Bucket>"
            f"<Key>{escape(key)}</Key><ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>"
        )

    def _delete(self, request: Request, words: dict[str, str]) -> bytes:
        if "uploadId" in words:
            self.tally.calls["AbortMultipartUpload"] += 1
            self.tally.parts.pop(words["uploadId"].encode(), None)
            return _NOTHING if self._uploads.pop(words["uploadId"], None) else _NO_UPLOAD
        self.tally.calls["DeleteObject"] += 1
        self.tally.things.pop(request.path, None)
        return _NOTHING

    # ------------------------------------------------------------ reads

    def _head(self, request: Request) -> bytes:
        self.tally.calls["HeadObject"] += 1
        thing = self.tally.things.get(request.path)
        if thing is None:
            return _NO_KEY
        return reply(
            "200 OK",
            {
                **_COMMON, "ETag": f'"{thing.etag or _UNKNOWN_ETAG}"', "Last-Modified": _DATE,
                "Content-Length": str(thing.size), "Accept-Ranges": "bytes",
                "Content-Type": "application/octet-stream",
                **{f"x-amz-meta-{name}": value for name, value in metadata(thing.head, META).items()},
            },
        )  # fmt: skip

    def _bucket(self, request: Request, words: dict[str, str]) -> bytes:
        if request.method == b"HEAD":
            self.tally.calls["HeadBucket"] += 1
            return _BUCKET
        if "location" in words:
            self.tally.calls["GetBucketLocation"] += 1
            return _xml(f"<LocationConstraint {_NAMESPACE}>us-east-1</LocationConstraint>")
        if "versioning" in words:
            self.tally.calls["GetBucketVersioning"] += 1
            return _xml(f"<VersioningConfiguration {_NAMESPACE} />")
        if "uploads" in words:
            return self._open_uploads(words)
        version = words.get("list-type", "1")
        self.tally.calls[f"ListObjects version {version}"] += 1
        count = "<KeyCount>0</KeyCount>" if version == "2" else "<Marker></Marker>"
        return _xml(
            f"<ListBucketResult {_NAMESPACE}><Name>{escape(_named(request.path)[0])}</Name>"
            f"<Prefix>{escape(words.get('prefix', ''))}</Prefix>{count}<MaxKeys>1000</MaxKeys>"
            "<IsTruncated>false</IsTruncated></ListBucketResult>"
        )

    def _open_uploads(self, words: dict[str, str]) -> bytes:
        self.tally.calls["ListMultipartUploads"] += 1
        encoded = words.get("encoding-type") == "url"
        found = sorted((_named(upload.path)[1], name) for name, upload in self._uploads.items())
        listed = "".join(
            f"<Upload><Key>{key if encoded else escape(unquote(key))}</Key><UploadId>{name}</UploadId></Upload>"
            for key, name in found
            if unquote(key).startswith(words.get("prefix", ""))
        )
        how = "<EncodingType>url</EncodingType>" if encoded else ""
        return _xml(
            f"<ListMultipartUploadsResult {_NAMESPACE}>{how}<IsTruncated>false</IsTruncated>{listed}"
            "</ListMultipartUploadsResult>"
        )

    def _get(self, request: Request, words: dict[str, str]) -> bytes:
        if "uploadId" not in words:
            self.tally.calls["GetObject"] += 1
            return _NO_OBJECT
        self.tally.calls["ListParts"] += 1
        if words["uploadId"] not in self._uploads:
            return _NO_UPLOAD
        staged = self.tally.parts.get(words["uploadId"].encode(), {})
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{part.etag}&quot;</ETag>"
            f"<Size>{part.size}</Size></Part>"
            for number, part in sorted(staged.items(), key=lambda item: int(item[0]))
        )
        return _xml(
            f"<ListPartsResult {_NAMESPACE}><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>"
        )


def _is_bucket(path: bytes) -> bool:
    return b"/" not in path.strip(b"/")


def _named(path: bytes) -> tuple[str, str]:
    bucket, _, key = path.lstrip(b"/").decode("latin-1").partition("/")
    return bucket, key


def _repeated(request: Request) -> dict[str, str]:
    """The checksum that the service has found right."""
    value = request.header(CRC) if CRC in request.head else None
    return {CRC.decode(): value.decode("latin-1")} if value else {}


def _tells(request: Request) -> bool:
    return b"content-md5" in request.head.lower()


def _payload(request: Request) -> tuple[int, str]:
    """Size and, where the sink is a checked one, hash of what was sent, without the frames of its chunks."""
    if request.body is not None:
        whole = unchunked(bytes(request.body))
        return len(whole), hashlib.sha256(whole).hexdigest()
    size = request.length
    if b"aws-chunked" in request.head:
        size = int(headers_of(request.head).get(_DECODED, b"0"))
    return size, request.digest.hexdigest() if request.digest is not None else ""
