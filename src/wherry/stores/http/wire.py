"""Who is spoken to by HTTP: one kept connection for each thread, made anew when it is gone.

It knows nothing of what is asked and never retries; it says exactly what is known when an answer fails to come:
`Unreached` (the request was not sent, to send it again is safe), `Lost` (it may have been carried out) or `HungUp`
(the same, and nothing is wrong with the server: it had closed a connection that was not used for a while).
Plain HTTP is refused except to this very machine.  Called by the requests of each adapter.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
import weakref
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from wherry.model.addresses import is_never_a_service, is_private, read
from wherry.model.errors import Denied, UsageError
from wherry.model.way import DIRECT, Proxy, Way
from wherry.stores.http.connection import Answer, Connection, HungUp, Lost, SecureConnection, Unreached
from wherry.stores.http.pace import BUSY, Pace
from wherry.stores.http.tunnel import ProxyRefused, open_way

__all__ = ["Address", "Answer", "HungUp", "Lost", "Unreached", "Wire"]

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0


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


class Wire:
    """The connections to one server; `private`: at an address that is not reached from the Internet, or none."""

    def __init__(
        self,
        address: Address,
        ca_file: str = "",
        answer_seconds: float = ANSWER_SECONDS,
        *,
        private: bool = False,
        ca_pem: str = "",
        way: Way = DIRECT,
    ) -> None:
        self.address = address
        # A proxy might lead anywhere.
        self._proxy = None if private or not address.secure else way.proxy_to(address.host)
        self._private = private
        self.pace = Pace()
        self._answer_seconds = answer_seconds
        self._context: ssl.SSLContext | None = None
        # What spares the next connection most of its handshake.
        self._session: ssl.SSLSession | None = None
        if address.secure:
            try:
                self._context = ssl.create_default_context(cafile=ca_file or None, cadata=ca_pem or None)
                if way.ca_pem:
                    self._context.load_verify_locations(cadata=way.ca_pem)
            except OSError as error:
                raise UsageError(
                    f"The CA file {ca_file or 'of the place'} cannot be read: {error.strerror or error}."
                ) from error
        self._local = threading.local()
        self._all: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._kept: list[Connection] = []

    def exchange(self, head: bytes, body: bytes | memoryview = b"", *, bodiless: bool = False) -> Answer:
        """Send one request on this thread's connection and read its answer.

        `bodiless`: the answer to a HEAD.  Raises `Unreached` or `Lost`; `Denied` for an untrusted server.
        """
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None or connection.is_stale():
            connection = self._renew(connection)
        try:
            try:
                connection.send(head, body)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses may answer and hang up before it has the whole body.
                answer = connection.receive(bodiless)
                connection.keep = False
            else:
                answer = connection.receive(bodiless)
        except BaseException as error:
            self._drop(connection)
            if isinstance(error, (OSError, ValueError, Lost)):
                raise _meaning(connection, error) from error
            raise
        if answer.status in BUSY:
            self.pace.refused()
        else:
            self.pace.served()
        if not connection.keep:
            self._drop(connection)
        elif connection.answers == 1:
            self.remember(connection)
        return answer

    def close(self) -> None:
        """Hang up on all connections; no thread may be at work any more."""
        with self._lock:
            for connection in [*self._all, *self._kept]:
                connection.close()
            self._kept.clear()

    def keep(self, connection: Connection) -> None:
        """Keep a connection for whoever asks for one by `kept`; nothing is under way on it."""
        connection.used = time.monotonic()
        with self._lock:
            self._kept.append(connection)

    def kept(self) -> Connection | None:
        """A connection that was kept and that the server has not hung up on since; for the caller alone."""
        with self._lock:
            while self._kept:
                connection = self._kept.pop()
                if not connection.is_stale():
                    return connection
                connection.close()
        return None

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._local.connection = None

    def _renew(self, kept: Connection | None) -> Connection:
        if kept is not None:
            self._drop(kept)
        made = self.kept() or self.connect()
        made.socket.setblocking(True)
        made.limit(self._answer_seconds)
        self._local.connection = made
        with self._lock:
            self._all.add(made)
        return made

    def remember(self, connection: Connection) -> None:
        """Let later handshakes be as short as one with a server that has answered here can be."""
        if self._context is not None:
            self._session = connection.session()

    def connect(self) -> Connection:
        """A new connection, for the caller alone.  Raises `Unreached`; `Denied` for an untrusted server."""
        proxy = self._proxy
        where = (proxy.host, proxy.port) if proxy else (self.address.host, self.address.port)
        try:
            plain = socket.create_connection(where, CONNECT_SECONDS)
        except OSError as error:
            raise Unreached(f"{self.address.netloc}: {_reason(error)}") from error
        try:
            if proxy is None:
                self._look_at(str(plain.getpeername()[0]))
            else:
                self._pass(plain, proxy)
            plain.settimeout(None)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                return Connection(plain)
            made = SecureConnection(plain, self._context, self.address.host, self._session)
            made.limit(CONNECT_SECONDS)
            made.shake_hands()
        except Denied:
            plain.close()
            raise
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise Denied(
                f"{self.address.netloc}: its certificate is not trusted: {error.verify_message}"
            ) from error
        except OSError as error:
            plain.close()
            raise Unreached(f"{self.address.netloc}: {_reason(error)}") from error
        return made

    def _pass(self, line: socket.socket, proxy: Proxy) -> None:
        """Go through the proxy.  It looks names up itself: only an address that is given as one can be looked at."""
        found = read(self.address.host)
        if found is not None and is_never_a_service(found):
            raise Denied(f"{self.address.netloc}: that is not the address of a storage service")
        try:
            open_way(line, proxy, self.address.host, self.address.port)
        except ProxyRefused as refused:
            if refused.is_for_want_of_password:
                raise Denied(f"{self.address.netloc}: {refused}") from refused
            raise ConnectionError(0, str(refused)) from refused

    def _look_at(self, peer: str) -> None:
        """What a name leads to is seen here, whatever it led to before; nothing was sent yet."""
        found = read(peer)
        if found is None or is_never_a_service(found):
            raise Denied(f"{self.address.netloc}: {peer} is not the address of a storage service")
        if self._private and not is_private(peer):
            raise Denied(f"{self.address.netloc}: {peer} is a public address, only private ones are allowed")


def _meaning(connection: Connection, error: Exception) -> Lost:
    """What it means that no answer came: a kept connection that ended in silence had ended before."""
    reason = str(error) if isinstance(error, Lost) else _reason(error)
    if connection.answers and connection.silent and not isinstance(error, (TimeoutError, BlockingIOError)):
        return HungUp(reason)
    return Lost(reason)


def _reason(error: Exception) -> str:
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return "no answer in time"
    return getattr(error, "strerror", None) or type(error).__name__
