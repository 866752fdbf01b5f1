"""A container and a bucket of somebody who means harm: its names are whatever it likes, and so are its words.

Speaks as much of the Blob service and of S3 as a source needs.  Names are grouped below their prefixes as the services
do it, so that each of them gets as far as the copy lets it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote_from_bytes, unquote_to_bytes, urlsplit

BODY = b"hostile"
ETAG, WHEN = "0x1", "Mon, 01 Jan 2024 00:00:00 GMT"
WORDS = "\x1b[2J\x1b]0;owned\x07\x9b31m"
"""What it says in headers that errors repeat."""


class LyingStore(ThreadingHTTPServer):
    """Serves `names` in any container at `port` of this machine; what is in `refused` it refuses, with `WORDS`.

    All of them have `metadata`.
    """

    daemon_threads = True

    def __init__(self, names: list[bytes], refused: frozenset[bytes], metadata: Mapping[str, str]) -> None:
        self.names = names
        self.refused = refused
        self.metadata = metadata
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: LyingStore
    protocol_version = "HTTP/1.1"
    # Head and body at once: nobody waits for an acknowledgement in between.
    wbufsize = 1 << 16

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what it does is seen by what comes of it."""

    def _answer(self, *, body: bool) -> None:
        url = urlsplit(self.path)
        asked = {name: value[0] for name, value in parse_qs(url.query, encoding="latin-1").items()}
        _, _, name = url.path[1:].partition("/")
        key = unquote_to_bytes(name)
        if "delimiter" in asked:
            prefix = asked.get("prefix", "").encode("latin-1")
            listing = _bucket if "list-type" in asked else _container
            self._send(200, listing(self.server, prefix), body)
        elif not key or key in self.server.refused:
            self._send(403, b"", body)
        elif key in self.server.names:
            ranged = self.headers.get("range") or self.headers.get("x-ms-range")
            self._send(206 if ranged else 200, BODY, body)
        else:
            self._send(404, b"", body)

    def _send(self, status: int, content: bytes, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{ETAG}"')
        self.send_header("Last-Modified", WHEN)
        if content is BODY:
            for name, value in self.server.metadata.items():
                self.send_header(f"x-ms-meta-{name}", value)
                self.send_header(f"x-amz-meta-{name}", value)
        if status == 206:
            self.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
        if status == 403:
            self.send_header("x-ms-error-code", WORDS)
            self.send_header("x-ms-request-id", WORDS)
            self.send_header("x-amz-request-id", WORDS)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _grouped(names: list[bytes], prefix: bytes) -> tuple[list[bytes], list[bytes]]:
    """The names right below a prefix, and the prefixes there."""
    inside = sorted(name for name in names if name.startswith(prefix))
    whole = [name for name in inside if b"/" not in name[len(prefix) :]]
    folders = {prefix + name[len(prefix) :].partition(b"/")[0] + b"/" for name in inside if name not in whole}
    return whole, sorted(folders)


def _container(server: LyingStore, prefix: bytes) -> bytes:
    whole, folders = _grouped(server.names, prefix)
    metadata = "".join(f"<{name}>{value}</{name}>" for name, value in server.metadata.items())
    blobs = [
        f"<Blob><Name{_text(name)}</Name><Properties><Last-Modified>{WHEN}</Last-Modified><Etag>{ETAG}</Etag>"
        f"<Content-Length>{len(BODY)}</Content-Length></Properties><Metadata>{metadata}</Metadata></Blob>"
        for name in whole
    ]
    prefixes = [f"<BlobPrefix><Name{_text(name)}</Name></BlobPrefix>" for name in folders]
    inside = "".join(blobs + prefixes)
    return f"<EnumerationResults><Blobs>{inside}</Blobs><NextMarker /></EnumerationResults>".encode()


def _bucket(server: LyingStore, prefix: bytes) -> bytes:
    whole, folders = _grouped(server.names, prefix)
    objects = [
        f"<Contents><Key>{quote_from_bytes(name)}</Key><LastModified>2024-01-01T00:00:00Z</LastModified>"
        f"<ETag>{ETAG}</ETag><Size>{len(BODY)}</Size></Contents>"
        for name in whole
    ]
    prefixes = [
        f"<CommonPrefixes><Prefix>{quote_from_bytes(name)}</Prefix></CommonPrefixes>" for name in folders
    ]
    inside = "".join(objects + prefixes)
    return (
        f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{inside}</ListBucketResult>"
    ).encode()


def _text(name: bytes) -> str:
    """The rest of a name's element: as the service writes it, or encoded where XML cannot hold it."""
    if re.fullmatch(rb"[A-Za-z0-9_./ -]*", name):
        return f">{name.decode()}"
    return f' Encoded="true">{quote_from_bytes(name)}'


@contextmanager
def lying_store(
    names: list[bytes], refused: frozenset[bytes] = frozenset(), metadata: Mapping[str, str] | None = None
) -> Iterator[LyingStore]:
    """A `LyingStore` for a `with` statement."""
    server = LyingStore(names, refused, metadata or {})
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)
