"""The way through a proxy: one CONNECT, after which the connection is one with whoever is behind it.

Called by `wire` for stores, and by the agent's network check.
"""

from __future__ import annotations

import re
import socket
import time
from http import HTTPStatus

from wherry.model.way import Proxy

_LONGEST_ANSWER = 16 * 1024
# For the whole of it, however slowly it comes.
_ANSWER_SECONDS = 30.0
_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([^\r\n]{0,80}))?\r\n")


class ProxyRefused(Exception):
    """The proxy opens no way; `status` 0 when it gave no answer that makes sense."""

    def __init__(self, proxy: Proxy, status: int, reason: str) -> None:
        super().__init__(f"the proxy {proxy.url} opens no way there ({reason})")
        self.status = status
        self.reason = reason

    @property
    def is_for_want_of_password(self) -> bool:
        return self.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED


def open_way(line: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Let `line`, connected to the proxy, be one to this host; raises `ProxyRefused`, and `OSError` for no answer."""
    there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    known = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    line.sendall(f"CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n{known}\r\n".encode())
    head = _head(line)
    found = _STATUS.match(head)
    if found is None:
        raise ProxyRefused(proxy, 0, "it does not answer as a proxy")
    status = int(found[1])
    if not 200 <= status < 300:
        said = (found[2] or b"").decode("latin-1").strip()
        raise ProxyRefused(proxy, status, f"{status} {said}".strip())


def _head(line: socket.socket) -> bytes:
    """The answer's head, and not a byte of what comes behind it."""
    head = b""
    until = time.monotonic() + _ANSWER_SECONDS
    while len(head) < _LONGEST_ANSWER and time.monotonic() < until:
        seen = line.recv(4096, socket.MSG_PEEK)
        if not seen:
            break
        # The end may lie between two pieces.
        at = (head[-3:] + seen).find(_END)
        size = at + len(_END) - len(head[-3:]) if at >= 0 else len(seen)
        head += line.recv(size)
        if at >= 0:
            return head
    return b""
