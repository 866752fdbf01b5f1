"""One request as a sink reads it: the head is kept as it came and looked into only as far as is needed.

Whatever is not needed to answer is read when the run is over, so that a put costs the sink as little as can be.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qs

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_USUAL_LENGTH = b"\r\nContent-Length: "


class Request:
    """A head, and how much of its body is still to come."""

    __slots__ = ("body", "crc", "digest", "head", "left", "length", "md5", "method", "path", "query")

    def __init__(self, head: bytes) -> None:
        first = head.index(b"\r\n")
        self.method, target, _ = head[:first].split(b" ", 2)
        self.path, _, self.query = target.partition(b"?")
        self.head = head
        self.length = self.left = length_of(head)
        self.body: bytearray | None = None
        self.digest: hashlib._Hash | None = None
        self.md5: hashlib._Hash | None = None
        self.crc: int | None = None

    def header(self, name: bytes) -> bytes | None:
        return headers_of(self.head).get(name)

    def words(self) -> dict[str, str]:
        """The query, decoded; words without a value too."""
        return {
            name: values[0]
            for name, values in parse_qs(self.query.decode("latin-1"), keep_blank_values=True).items()
        }


def expects(head: bytes, there: bool) -> bool:
    """Whether the conditions of a write hold, when something is there or is not."""
    if b"-match" not in head and b"-Match" not in head:
        return True
    headers = headers_of(head)
    return (b"if-none-match" not in headers) if there else (b"if-match" not in headers)


def length_of(head: bytes) -> int:
    """The length of the body that follows this head."""
    start = head.find(_USUAL_LENGTH)
    if start >= 0:
        start += len(_USUAL_LENGTH)
        return int(head[start : head.index(b"\r\n", start)])
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


def headers_of(head: bytes) -> dict[bytes, bytes]:
    """All headers of a head, names in lower case."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name}


def reply(status: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """An answer; the connection stays open."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if not status.startswith(("1", "204")) and "Content-Length" not in (headers or {}):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def unchunked(body: bytes) -> bytes:
    """The payload of a body in the frames of S3's signed or trailing chunks."""
    whole, at = bytearray(), 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].partition(b";")[0], 16)
        if not size:
            return bytes(whole)
        whole += body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
