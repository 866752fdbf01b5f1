"""A hierarchical storage account as the service's documents describe it, in this process: no emulator has one.

It answers the requests of Blob and of Data Lake that Wherry sends, by the documented names of parameters, headers and
error codes, keeps every request that came, and knows no more.  Whatever it does not know is answered with 501, so that
a request that the documents do not have is a failed test.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit
from xml.sax.saxutils import escape

from awscrt.checksums import crc64nvme

CONTAINER = "/lake/container"
META = "x-ms-meta-"


class Sent(NamedTuple):
    """One request; `path` without the container, names of `headers` in lower case."""

    method: str
    path: bytes
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Told(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    body: bytes = b""


def refused(status: int, code: str) -> Told:
    return Told(status, {"x-ms-error-code": code})


@dataclass
class Node:
    """A file or folder of the lake."""

    folder: bool
    data: bytes = b""
    metadata: dict[str, str] = field(default_factory=dict)
    etag: str = ""
    date: str = ""
    permissions: str = "rwxr-x---"
    acl: str = ""


@dataclass
class Lake:
    """What is in the account.  `tells` None: the credential may not ask the account; `namespace` for that case."""

    tells: str | None = "true"
    namespace: str | None = "true"
    nodes: dict[bytes, Node] = field(default_factory=dict)
    blocks: dict[bytes, dict[str, bytes]] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""
    _serial: int = 0

    def seen(self, method: str, **query: str) -> list[Sent]:
        """The requests so far of a method with these parameters."""
        return [one for one in self.sent if one.method == method and query.items() <= one.query.items()]

    # ------------------------------------------------------------ the service

    def answer(self, request: Sent) -> Told:
        with self.lock:
            self.sent.append(request)
            if not request.path:
                return self._container(request)
            wrong = _damage(request)
            if wrong:
                return refused(400, wrong)
            what = (
                request.query.get("comp")
                or request.query.get("resource")
                or request.query.get("action")
                or ""
            )
            deed = getattr(self, f"_{request.method.lower()}_{what.lower()}", None)
            told: Told = deed(request) if deed else refused(501, "NotImplemented")
            return told

    def _container(self, request: Sent) -> Told:
        query = request.query
        if (query.get("restype"), query.get("comp")) == ("account", "properties"):
            return (
                refused(403, "AuthorizationFailure")
                if self.tells is None
                else Told(200, {"x-ms-is-hns-enabled": self.tells})
            )
        if query.get("resource") == "filesystem":
            return (
                refused(403, "AuthorizationFailure")
                if self.namespace is None
                else Told(200, {"x-ms-namespace-enabled": self.namespace})
            )
        if query.get("comp") == "list":
            return self._list(query)
        return refused(501, "NotImplemented")

    def _list(self, query: dict[str, str]) -> Told:
        prefix = query["prefix"].encode("utf-8", "surrogateescape")
        inside = [path for path in self.nodes if path.startswith(prefix) and b"/" not in path[len(prefix) :]]
        whole = sorted(path + b"/" if self.nodes[path].folder else path for path in inside if path != prefix)
        start = int(query.get("marker") or 0)
        end = start + int(query["maxresults"])
        access = "permissions" in query["include"].split(",")
        items = "".join(self._listed(path, access) for path in whole[start:end])
        marker = str(end) if end < len(whole) else ""
        body = f"<EnumerationResults><Blobs>{items}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
        return Told(200, {"Content-Type": "application/xml"}, body.encode())

    def _listed(self, path: bytes, access: bool) -> str:
        name = escape(path.decode(), {"\r": "&#13;"})
        node = self.nodes[path.rstrip(b"/")]
        properties = (
            f"<Properties><Last-Modified>{node.date}</Last-Modified><Etag>{node.etag}</Etag>"
            f"<Content-Length>{len(node.data)}</Content-Length>"
            f"<ResourceType>{'directory' if node.folder else 'file'}</ResourceType>"
            + (f"<Permissions>{node.permissions}</Permissions>" if access else "")
            + "</Properties>"
        )
        if node.folder:
            return f"<BlobPrefix><Name>{name}</Name>{properties}</BlobPrefix>"
        metadata = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in node.metadata.items())
        return f"<Blob><Name>{name}</Name>{properties}<Metadata>{metadata}</Metadata></Blob>"

    # ------------------------------------------------------------ Blob

    def _head_(self, request: Sent) -> Told:
        return self._get_(request)._replace(body=b"")

    def _get_(self, request: Sent) -> Told:
        node = self.nodes.get(request.path)
        if node is None:
            return refused(404, "BlobNotFound")
        if refusal := _condition(request, node):
            return refusal
        headers = {f"{META}{key}": value for key, value in node.metadata.items()} | {
            "ETag": f'"{node.etag}"', "Last-Modified": node.date, "x-ms-permissions": node.permissions,
            "x-ms-resource-type": "directory" if node.folder else "file",
        }  # fmt: skip
        if node.folder:
            headers[f"{META}hdi_isfolder"] = "true"
        asked = request.headers.get("x-ms-range")
        if not asked or request.method == "HEAD":
            return Told(200, headers | {"Content-Length": str(len(node.data))}, node.data)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        if int(first) >= len(node.data):
            return refused(416, "InvalidRange")
        piece = node.data[int(first) : int(last) + 1]
        end = int(first) + len(piece) - 1
        return Told(206, headers | {"Content-Range": f"bytes {first}-{end}/{len(node.data)}"}, piece)

    def _put_(self, request: Sent) -> Told:
        assert request.headers["x-ms-blob-type"] == "BlockBlob"
        return self._keep(request, request.body, _metadata(request))

    def _put_block(self, request: Sent) -> Told:
        self.blocks.setdefault(request.path, {})[request.query["blockid"]] = request.body
        return Told(201)

    def _put_blocklist(self, request: Sent) -> Told:
        listed = [part.partition("<")[0] for part in request.body.decode().split("<Latest>")[1:]]
        blocks = self.blocks.get(request.path, {})
        if any(block not in blocks for block in listed):
            return refused(400, "InvalidBlockList")
        return self._keep(request, b"".join(blocks[block] for block in listed), _metadata(request))

    def _get_blocklist(self, request: Sent) -> Told:
        blocks = self.blocks.get(request.path, {})
        text = "".join(
            f"<Block><Name>{name}</Name><Size>{len(data)}</Size></Block>" for name, data in blocks.items()
        )
        return Told(200, {}, f"<BlockList><UncommittedBlocks>{text}</UncommittedBlocks></BlockList>".encode())

    def _put_metadata(self, request: Sent) -> Told:
        return self._change(request, _metadata(request))

    def _delete_(self, request: Sent) -> Told:
        node = self.nodes.get(request.path)
        if node is None:
            return refused(404, "PathNotFound" if "recursive" in request.query else "BlobNotFound")
        if refusal := _condition(request, node):
            return refusal
        if node.folder and request.query.get("recursive") != "false":
            return refused(409, "ResourceTypeMismatch")
        if node.folder and any(path.startswith(request.path + b"/") for path in self.nodes):
            return refused(409, "DirectoryNotEmpty")
        del self.nodes[request.path]
        return Told(200 if "recursive" in request.query else 202)

    # ------------------------------------------------------------ Data Lake

    def _put_directory(self, request: Sent) -> Told:
        if request.headers.get("if-none-match") == "*" and request.path in self.nodes:
            return refused(409, "PathAlreadyExists")
        return self._place(request.path, Node(True, metadata=_properties(request)))

    def _patch_setproperties(self, request: Sent) -> Told:
        return self._change(request, _properties(request))

    def _patch_setaccesscontrol(self, request: Sent) -> Told:
        node = self.nodes[request.path]
        assert ("x-ms-acl" in request.headers) != ("x-ms-permissions" in request.headers)
        node.acl = request.headers.get("x-ms-acl", "")
        if node.acl:
            node.permissions = _of_acl(node.acl)
        if octal := request.headers.get("x-ms-permissions"):
            assert len(octal) == 4
            node.permissions = letters(int(octal, 8))
        return self._touched(node, 200)

    # ------------------------------------------------------------ nodes

    def _keep(self, request: Sent, data: bytes, metadata: dict[str, str]) -> Told:
        node = self.nodes.get(request.path)
        if node is not None and node.folder:
            return refused(409, "ResourceTypeMismatch")
        if refusal := _condition(request, node):
            return refusal
        self.blocks.pop(request.path, None)
        return self._place(request.path, Node(False, data, metadata))

    def _place(self, path: bytes, node: Node) -> Told:
        above = path.rpartition(b"/")[0]
        if above and above not in self.nodes:
            self._place(above, Node(True))
        if above and not self.nodes[above].folder:
            return refused(409, "InvalidPathInRequest")
        self.nodes[path] = node
        return self._touched(node, 201)

    def _change(self, request: Sent, metadata: dict[str, str]) -> Told:
        node = self.nodes.get(request.path)
        if node is None:
            return refused(404, "BlobNotFound")
        if refusal := _condition(request, node):
            return refusal
        node.metadata = metadata
        return self._touched(node, 200)

    def _touched(self, node: Node, status: int) -> Told:
        self._serial += 1
        node.etag = f"0x{self._serial:X}"
        node.date = formatdate(usegmt=True)
        return Told(status, {"ETag": f'"{node.etag}"', "Last-Modified": node.date})


def letters(mode: int) -> str:
    """The permissions as the service writes them."""
    text = "".join(letter if mode >> (8 - at) & 1 else "-" for at, letter in enumerate("rwxrwxrwx"))
    return text[:8] + {("x", 1): "t", ("-", 1): "T"}.get((text[8], mode >> 9 & 1), text[8])


def _of_acl(acl: str) -> str:
    """The permissions that an ACL makes: those of the group are its mask, where it has one."""
    own = dict(entry.rsplit(":", 1) for entry in acl.split(",") if not entry.startswith("default:"))
    return own["user:"] + own.get("mask:", own["group:"]) + own["other:"]


def _condition(request: Sent, node: Node | None) -> Told | None:
    if request.headers.get("if-none-match") == "*" and node is not None:
        return refused(409, "BlobAlreadyExists")
    wanted = request.headers.get("if-match")
    if wanted is not None and (node is None or wanted != f'"{node.etag}"'):
        return refused(412, "ConditionNotMet")
    return None


def _damage(request: Sent) -> str:
    crc, md5 = request.headers.get("x-ms-content-crc64"), request.headers.get("content-md5")
    if crc and base64.b64decode(crc) != crc64nvme(request.body).to_bytes(8, "little"):
        return "Crc64Mismatch"
    if md5 and base64.b64decode(md5) != hashlib.md5(request.body).digest():
        return "Md5Mismatch"
    return ""


def _metadata(request: Sent) -> dict[str, str]:
    return {key[len(META) :]: value for key, value in request.headers.items() if key.startswith(META)}


def _properties(request: Sent) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in request.headers.get("x-ms-properties", "").split(",") if pair]
    return {key: base64.b64decode(value).decode("latin-1") for key, _, value in pairs}


@contextmanager
def lake(**more: Any) -> Iterator[Lake]:
    """A lake that is served while the block runs; `url` is that of its container."""
    made = Lake(**more)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            path = unquote_to_bytes(parts.path.removeprefix(CONTAINER).removeprefix("/"))
            query = dict(parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            told = made.answer(Sent(self.command, path, query, headers, body))
            self.send_response_only(told.status)
            size = told.headers.get("Content-Length", str(len(told.body)))
            for name, value in (
                told.headers | {"Content-Length": size, "Date": formatdate(usegmt=True)}
            ).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.body)

        do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - named by the base class

        def log_message(self, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}{CONTAINER}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
