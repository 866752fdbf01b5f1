"""Answers as S3 gives them, path style, for what movers ask while they fill an empty bucket.

Any signature will do. Listings are always empty. An object's ETag is its MD5 only where the request told it
(Content-MD5): a mover that compares ETags with MD5 sums of its own sends that, and the sink has nothing to compute.
"""

from __future__ import annotations

import hashlib
import re
from xml.sax.saxutils import escape

from bench.sinks.blob import content_md5
from bench.sinks.request import Request, headers_of, reply, unchunked
from bench.sinks.tally import Part, Tally, Thing, metadata

META = b"x-amz-meta-"
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


_NO_KEY = reply("404 Not Found", _COMMON)
_BUCKET = reply("200 OK", {**_COMMON, "x-amz-bucket-region": "us-east-1"})


class S3Dialect:
    """See the module; a `Dialect` of the loop."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._uploads: dict[str, bytes] = {}

    def wants_body(self, request: Request) -> bool:
        return request.method == b"POST"

    def answer(self, request: Request) -> bytes:
        if request.method == b"PUT":
            return self._part(request) if b"partNumber=" in request.query else self._put(request)
        words = request.words()
        if request.method == b"POST":
            return self._post(request, words)
        if request.method == b"DELETE":
            self.tally.calls["DeleteObject"] += 1
            self.tally.things.pop(request.path, None)
            return _NOTHING
        if _is_bucket(request.path):
            return self._bucket(request, words)
        if request.method == b"HEAD":
            return self._head(request)
        return self._get(request, words)

    # ------------------------------------------------------------ writes

    def _put(self, request: Request) -> bytes:
        if _is_bucket(request.path):
            self.tally.calls["CreateBucket"] += 1
            return _BUCKET
        self.tally.calls["PutObject"] += 1
        size, digest = _payload(request)
        etag = content_md5(request.head) if b"ontent-" in request.head and _tells(request) else ""
        thing = Thing(size, request.head, [(size, digest)] if digest else [], etag)
        self.tally.keep(request.path, thing)
        return reply("200 OK", {**_COMMON, "ETag": f'"{etag}"'}) if etag else _PUT

    def _part(self, request: Request) -> bytes:
        self.tally.calls["UploadPart"] += 1
        words = request.words()
        size, digest = _payload(request)
        etag = (
            content_md5(request.head)
            or hashlib.md5(f"{size} {words['partNumber']}".encode(), usedforsecurity=False).hexdigest()
        )
        staged = self.tally.parts.setdefault(words.get("uploadId", "").encode(), {})
        staged[words["partNumber"]] = Part(size, digest, etag)
        return reply("200 OK", {**_COMMON, "ETag": f'"{etag}"'})

    def _post(self, request: Request, words: dict[str, str]) -> bytes:
        if "uploads" in words:
            self.tally.calls["CreateMultipartUpload"] += 1
            upload = f"upload-{len(self._uploads) + 1:06d}"
            self._uploads[upload] = request.head
            bucket, key = _named(request.path)
            return _xml(
                f"<InitiateMultipartUploadResult {_NAMESPACE}><Bucket>{escape(bucket)}</Bucket>"
                f"<Key>{escape(key)}</Key><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        if "uploadId" in words:
            return self._complete(request, words["uploadId"])
        self.tally.refused += 1
        return _error("501 Not Implemented", "NotImplemented")

    def _complete(self, request: Request, upload: str) -> bytes:
        self.tally.calls["CompleteMultipartUpload"] += 1
        staged = self.tally.parts.pop(upload.encode(), {})
        wanted = [number.decode() for number in _PART.findall(bytes(request.body or b""))]
        if not wanted or upload not in self._uploads or any(number not in staged for number in wanted):
            self.tally.refused += 1
            return _error("400 Bad Request", "InvalidPart")
        parts = [staged[number] for number in wanted]
        joined = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
        etag = f"{joined.hexdigest()}-{len(parts)}"
        digests = [(part.size, part.digest) for part in parts if part.digest]
        size = sum(part.size for part in parts)
        # The metadata came with the request that began the upload.
        self.tally.keep(request.path, Thing(size, self._uploads[upload], digests, etag))
        bucket, key = _named(request.path)
        return _xml(
            f"<CompleteMultipartUploadResult {_NAMESPACE}><Bucket>{escape(bucket)}</Bucket>"
            f"<Key>{escape(key)}</Key><ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>"
        )

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
            self.tally.calls["ListMultipartUploads"] += 1
            return _xml(
                f"<ListMultipartUploadsResult {_NAMESPACE}><IsTruncated>false</IsTruncated>"
                "</ListMultipartUploadsResult>"
            )
        version = words.get("list-type", "1")
        self.tally.calls[f"ListObjects version {version}"] += 1
        count = "<KeyCount>0</KeyCount>" if version == "2" else "<Marker></Marker>"
        return _xml(
            f"<ListBucketResult {_NAMESPACE}><Name>{escape(_named(request.path)[0])}</Name>"
            f"<Prefix>{escape(words.get('prefix', ''))}</Prefix>{count}<MaxKeys>1000</MaxKeys>"
            "<IsTruncated>false</IsTruncated></ListBucketResult>"
        )

    def _get(self, request: Request, words: dict[str, str]) -> bytes:
        if "uploadId" not in words:
            self.tally.calls["GetObject"] += 1
            return _error("404 Not Found", "NoSuchKey")
        self.tally.calls["ListParts"] += 1
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
