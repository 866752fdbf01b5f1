"""HTTP/1.1 over sockets and TLS: one kept connection for each thread, one write for a small request.

It knows nothing of what is asked and never retries; it says exactly what is known when an answer fails to come:
`Unreached` (the request was not sent, to send it again is safe) or `Lost` (it may have been carried out).
Plain HTTP is refused except to this very machine.  Called by the requests of each adapter.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import ssl
import threading
import time
import weakref
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from wherry.model.errors import Denied, UsageError

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
# A kept connection that was idle for longer is looked at before it is used again.
_IDLE_SECONDS = 0.5
_LONGEST_HEAD = 64 * 1024
_LONGEST_BODY = 256 * 1024 * 1024
_ONE_WRITE = 64 * 1024
_RECEIVE = 64 * 1024


class Unreached(Exception):
    """Nothing of the request reached the server."""


class Lost(Exception):
    """The request was sent, but no whole answer came: whether it was carried out is unknown."""


class Answer(NamedTuple):
    """What a server said; names of `headers` in lower case.

    `code` is the service's own word for an error, set by whoever knows where that service puts it.
    """

    status: int
    headers: dict[str, str]
    body: bytes | memoryview
    code: str = ""


class Address(NamedTuple):
    """Where the server is; `path` is what comes before every name, percent-encoded, without a slash at its end."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address of an http or https URL without query, user or fragment.  Raises `UsageError`."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise UsageError("The URL of the store is malformed.") from None
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise UsageError("The URL of a store starts with https:// and a host name.")
        if parts.query or parts.fragment:
            raise UsageError("The URL of a store has no query; give the credential apart from it.")
        secure = parts.scheme == "https"
        if not secure and not _is_this_machine(host):
            raise UsageError(f"Plain http to {host} is refused: use https.")
        path = quote(unquote(parts.path.rstrip("/")), safe="/~$")
        return cls(secure, host, port or (443 if secure else 80), path)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Connection:
    """One connection and what was received on it and not yet read."""

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.used = time.monotonic()
        self._rest = b""

    def is_stale(self) -> bool:
        """Whether the server has hung up or spoken out of turn while nothing was asked."""
        if time.monotonic() - self.used < _IDLE_SECONDS:
            return False
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def send(self, head: bytes, body: bytes | memoryview) -> None:
        if len(body) <= _ONE_WRITE:
            self.socket.sendall(head + bytes(body))
        else:
            self.socket.sendall(head)
            self.socket.sendall(body)

    def receive(self, bodiless: bool) -> tuple[Answer, bool]:
        """The answer, and whether the connection can be used again."""
        status, headers = self._head()
        while 100 <= status < 200:
            status, headers = self._head()
        keep = headers.get("connection", "").lower() != "close"
        if bodiless or status in (204, 304):
            body: bytes | memoryview = b""
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks()
        elif "content-length" in headers:
            body = self._exactly(_number(headers["content-length"], 10))
        else:
            body, keep = self._until_end(), False
        self.used = time.monotonic()
        return Answer(status, headers, body), keep and not self._rest

    def _more(self) -> bytes:
        piece = self.socket.recv(_RECEIVE)
        if not piece:
            raise Lost("the server hung up")
        return piece

    def _head(self) -> tuple[int, dict[str, str]]:
        while (end := self._rest.find(b"\r\n\r\n")) < 0:
            if len(self._rest) > _LONGEST_HEAD:
                raise Lost("the answer's header does not end")
            self._rest += self._more()
        lines = self._rest[:end].decode("latin-1").split("\r\n")
        self._rest = self._rest[end + 4 :]
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1."):
            raise Lost("the answer is not HTTP")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return _number(rest[:3], 10), headers

    def _line(self) -> bytes:
        while (end := self._rest.find(b"\r\n")) < 0:
            if len(self._rest) > _LONGEST_HEAD:
                raise Lost("a line of the answer does not end")
            self._rest += self._more()
        line, self._rest = self._rest[:end], self._rest[end + 2 :]
        return line

    def _exactly(self, size: int) -> bytes | memoryview:
        if size <= len(self._rest):
            body, self._rest = self._rest[:size], self._rest[size:]
            return body
        if size > _LONGEST_BODY:
            raise Lost("the answer is longer than any we ask for")
        whole = memoryview(bytearray(size))
        got = len(self._rest)
        whole[:got] = self._rest
        self._rest = b""
        while got < size:
            count = self.socket.recv_into(whole[got:])
            if not count:
                raise Lost("the server hung up in the middle of its answer")
            got += count
        return whole

    def _chunks(self) -> bytes:
        whole = bytearray()
        while size := _number(self._line().partition(b";")[0].decode("latin-1"), 16):
            if len(whole) + size > _LONGEST_BODY:
                raise Lost("the answer is longer than any we ask for")
            whole += self._exactly(size)
            self._line()
        while self._line():
            pass
        return bytes(whole)

    def _until_end(self) -> bytes:
        whole = bytearray(self._rest)
        self._rest = b""
        while len(whole) <= _LONGEST_BODY and (piece := self.socket.recv(_RECEIVE)):
            whole += piece
        return bytes(whole)

    def close(self) -> None:
        self.socket.close()

    def __del__(self) -> None:
        self.socket.close()


def _number(text: str, radix: int) -> int:
    try:
        number = int(text.strip(), radix)
    except ValueError:
        number = -1
    if number < 0:
        raise Lost("the answer is not HTTP")
    return number


class Wire:
    """The connections to one server."""

    def __init__(self, address: Address, ca_file: str = "", answer_seconds: float = ANSWER_SECONDS) -> None:
        self.address = address
        self._answer_seconds = answer_seconds
        self._context: ssl.SSLContext | None = None
        if address.secure:
            try:
                self._context = ssl.create_default_context(cafile=ca_file or None)
            except OSError as error:
                raise UsageError(
                    f"The CA file {ca_file} cannot be read: {error.strerror or error}."
                ) from error
        self._local = threading.local()
        self._all: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._lock = threading.Lock()

    def exchange(self, head: bytes, body: bytes | memoryview = b"", *, bodiless: bool = False) -> Answer:
        """Send one request on this thread's connection and read its answer.

        `bodiless`: the answer to a HEAD.  Raises `Unreached` or `Lost`; `Denied` for an untrusted server.
        """
        connection = self._connection()
        answered = keep = False
        try:
            try:
                connection.send(head, body)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses may answer and hang up before it has the whole body.
                answer, _ = connection.receive(bodiless)
            else:
                answer, keep = connection.receive(bodiless)
            answered = True
        except (OSError, ValueError) as error:
            raise Lost(_reason(error)) from error
        finally:
            if not (answered and keep):
                connection.close()
                self._local.connection = None
        return answer

    def close(self) -> None:
        """Hang up on all connections; no thread may be at work any more."""
        with self._lock:
            for connection in list(self._all):
                connection.close()

    def _connection(self) -> _Connection:
        kept: _Connection | None = getattr(self._local, "connection", None)
        if kept is not None:
            if not kept.is_stale():
                return kept
            kept.close()
        made = self._local.connection = _Connection(self._connect())
        with self._lock:
            self._all.add(made)
        return made

    def _connect(self) -> socket.socket:
        where = (self.address.host, self.address.port)
        try:
            plain = socket.create_connection(where, CONNECT_SECONDS)
        except OSError as error:
            raise Unreached(f"{self.address.netloc}: {_reason(error)}") from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made = (
                self._context.wrap_socket(plain, server_hostname=self.address.host)
                if self._context
                else plain
            )
            made.settimeout(self._answer_seconds)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise Denied(
                f"{self.address.netloc}: its certificate is not trusted: {error.verify_message}"
            ) from error
        except OSError as error:
            plain.close()
            raise Unreached(f"{self.address.netloc}: {_reason(error)}") from error
        return made


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or type(error).__name__
