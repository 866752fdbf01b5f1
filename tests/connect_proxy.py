"""A real HTTP proxy in this process: tunnels by CONNECT, with Basic authentication if it is told a password."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from tests.tls_server import TlsServer, tls_server
from wherry.model.way import Proxy, Way


class ConnectProxy(socketserver.ThreadingTCPServer):
    """At `port` of 127.0.0.1; `passed` are the hosts and ports that ways were opened to, `refused` all the others.

    `names` are hosts that only the proxy knows, with their addresses.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, user: str = "", password: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Visitor)
        self.port = int(self.server_address[1])
        self.known = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self.passed: list[str] = []
        self.refused: list[str] = []
        self.closed_to: set[str] = set()
        self.names: dict[str, str] = {}


class _Visitor(socketserver.BaseRequestHandler):
    server: ConnectProxy

    def handle(self) -> None:
        self.request.settimeout(30)
        with contextlib.suppress(OSError):
            self._serve()

    def _serve(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.request.recv(1)
            if not piece:
                return
            head += piece
        first, *lines = head.decode().split("\r\n")
        method, there, _ = first.split(" ")
        told = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
        if self.server.known and told.get("proxy-authorization") != f"Basic {self.server.known}":
            self._refuse(there, "407 Proxy Authentication Required")
            return
        if method != "CONNECT" or there in self.server.closed_to:
            self._refuse(there, "403 Forbidden")
            return
        host, _, port = there.rpartition(":")
        try:
            beyond = socket.create_connection((self.server.names.get(host, host.strip("[]")), int(port)), 10)
        except OSError:
            self._refuse(there, "502 Bad Gateway")
            return
        with beyond:
            self.server.passed.append(there)
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\nVia: a test\r\n\r\n")
            self._carry(beyond)

    def _refuse(self, there: str, why: str) -> None:
        self.server.refused.append(there)
        self.request.sendall(f"HTTP/1.1 {why}\r\nContent-Length: 0\r\n\r\n".encode())

    def _carry(self, beyond: socket.socket) -> None:
        other = {self.request: beyond, beyond: self.request}
        while True:
            ready, _, _ = select.select(list(other), [], [], 30)
            if not ready:
                return
            for one in ready:
                data = one.recv(1 << 16)
                if not data:
                    return
                other[one].sendall(data)


@contextmanager
def connect_proxy(user: str = "", password: str = "") -> Iterator[ConnectProxy]:
    """A proxy while the block runs."""
    with ConnectProxy(user, password) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


HOST = "plane.example"
USER, PASSWORD = "wherry", "over the river %:@/"


@dataclass
class Far:
    """A server of HTTPS that only its proxy finds, by a name that nobody else knows."""

    server: TlsServer
    proxy: ConnectProxy

    @property
    def there(self) -> str:
        """Host and port as the proxy is asked for them."""
        return urlsplit(self.server.url).netloc

    def way(self, user: str = USER, password: str = PASSWORD) -> Way:
        return Way(Proxy("127.0.0.1", self.proxy.port, user, password))


@contextmanager
def known_to_the_proxy_alone() -> Iterator[None]:
    """`HOST` is found by nobody else while the block runs, and no server of names is asked for it."""
    look_up = socket.getaddrinfo

    def blind(host: Any, *rest: Any, **options: Any) -> Any:
        if host in (HOST, HOST.encode()):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *rest, **options)

    with patch("socket.getaddrinfo", blind):
        yield


@contextmanager
def far_away(folder: Path) -> Iterator[Far]:
    """A server behind a proxy that wants a password."""
    with (
        known_to_the_proxy_alone(),
        tls_server(folder, (HOST,)) as server,
        connect_proxy(USER, PASSWORD) as proxy,
    ):
        proxy.names[HOST] = "127.0.0.1"
        server.url = server.url.replace("127.0.0.1", HOST)
        yield Far(server, proxy)
