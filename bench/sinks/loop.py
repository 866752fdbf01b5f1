"""The loop of a sink: one process, one thread, epoll, and no look at a byte that is not needed.

Large bodies over plain HTTP are thrown away inside the kernel (`MSG_TRUNC`); those by TLS have to be decrypted. A
*checked* sink hashes them instead and compares every checksum, for rounds that are not timed. With a latency every
answer waits for its time in a queue, as all wait equally long.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import ssl
import time
from collections import deque
from typing import Protocol

from awscrt import checksums

from bench.sinks.request import Request, reply
from bench.sinks.tally import Tally

_BUFFER = 1024 * 1024
_TRUNCATE_FROM = 128 * 1024
# Checksums of smaller bodies are always compared, as clients find out by that whether a service does it.
_COMPARE_BELOW = 64 * 1024
_READS_AT_ONCE = 64
_LONGEST_HEAD = 64 * 1024
_NOT_IMPLEMENTED = reply("501 Not Implemented", {"Connection": "close"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Dialect(Protocol):
    """How one kind of service answers."""

    tally: Tally
    crc: bytes
    """The header of a CRC-64/NVME."""

    def wants_body(self, request: Request) -> bool:
        """Whether the body says something that the answer needs."""

    def answer(self, request: Request) -> bytes:
        """The answer to a request whose body has come."""


class _Connection:
    __slots__ = ("fd", "kept", "out", "request", "socket", "tls")

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.fd = made.fileno()
        self.tls = made if isinstance(made, ssl.SSLSocket) else None
        self.kept = b""
        self.out = b""
        self.request: Request | None = None


class Loop:
    """See the module. `run` returns when `control` has something to read or is closed."""

    def __init__(
        self,
        dialect: Dialect,
        listener: socket.socket,
        control: int,
        *,
        context: ssl.SSLContext | None = None,
        latency: float = 0.0,
        checked: bool = False,
    ) -> None:
        self._dialect = dialect
        self._tally = dialect.tally
        self._listener = listener
        self._control = control
        self._context = context
        self._latency = latency
        self._checked = checked
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._connections: dict[int, _Connection] = {}
        self._waiting: deque[tuple[float, _Connection, bytes]] = deque()
        self._poll = select.epoll()

    def run(self) -> None:
        self._listener.setblocking(False)
        door = self._listener.fileno()
        self._poll.register(door, select.EPOLLIN)
        self._poll.register(self._control, select.EPOLLIN)
        connections = self._connections
        before = time.process_time()
        while True:
            for fd, event in self._poll.poll(self._patience()):
                if fd == door:
                    self._accept()
                elif fd == self._control:
                    self._tally.processor = time.process_time() - before
                    self._end()
                    return
                elif (connection := connections.get(fd)) is not None:
                    self._serve(connection, event)
            if self._waiting:
                self._release()

    def _end(self) -> None:
        for connection in list(self._connections.values()):
            self._close(connection)
        self._poll.close()
        self._listener.close()

    # ------------------------------------------------------------ latency

    def _patience(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, self._waiting[0][0] - time.monotonic())

    def _release(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, connection, answer = self._waiting.popleft()
            if self._connections.get(connection.fd) is connection:
                self._send(connection, answer)

    # ------------------------------------------------------------ connections

    def _accept(self) -> None:
        while True:
            try:
                made, _ = self._listener.accept()
            except BlockingIOError:
                return
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setblocking(False)
            if self._context:
                made = self._context.wrap_socket(made, server_side=True, do_handshake_on_connect=False)
            connection = _Connection(made)
            self._connections[connection.fd] = connection
            self._poll.register(connection.fd, select.EPOLLIN)
            self._tally.connections += 1

    def _close(self, connection: _Connection) -> None:
        if self._connections.get(connection.fd) is not connection:
            return
        del self._connections[connection.fd]
        with contextlib.suppress(OSError):
            self._poll.unregister(connection.fd)
        connection.socket.close()

    def _serve(self, connection: _Connection, event: int) -> None:
        try:
            if event & select.EPOLLOUT and connection.out:
                self._flush(connection)
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read(connection)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return
        except OSError:
            self._close(connection)

    def _send(self, connection: _Connection, data: bytes) -> None:
        if connection.out:
            connection.out += data
            return
        try:
            sent = connection.socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(data):
            connection.out = data[sent:]
            self._poll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, connection: _Connection) -> None:
        sent = connection.socket.send(connection.out)
        connection.out = connection.out[sent:]
        if not connection.out:
            self._poll.modify(connection.fd, select.EPOLLIN)

    # ------------------------------------------------------------ reading

    def _read(self, connection: _Connection) -> None:
        """Read what is there; more than a little at once only for bodies by TLS, whose records are small."""
        tls = connection.tls
        for _ in range(_READS_AT_ONCE):
            count = self._receive(connection)
            if not count:
                self._close(connection)
                return
            self._tally.received += count
            if not self._take(connection, count):
                return
            if tls is None or (connection.request is None and not connection.kept and not tls.pending()):
                return

    def _receive(self, connection: _Connection) -> int:
        request = connection.request
        if (
            request is not None
            and request.left >= _TRUNCATE_FROM
            and connection.tls is None
            and not self._checked
            and request.body is None
        ):
            return connection.socket.recv_into(self._buffer, min(request.left, _BUFFER), socket.MSG_TRUNC)
        return connection.socket.recv_into(self._buffer)

    def _take(self, connection: _Connection, count: int) -> bool:
        """Use the bytes in the buffer; False when the connection is gone."""
        at = 0
        request = connection.request
        if request is not None:
            at = min(request.left, count)
            if not self._body(connection, request, 0, at):
                return True
        while at < count:
            if connection.kept:
                data = connection.kept + bytes(self._view[at:count])
                used = len(connection.kept)
                end = data.find(b"\r\n\r\n", max(0, used - 3))
            else:
                used = 0
                # A head is short: one look at the first bytes usually has it all.
                data = bytes(self._view[at : min(count, at + _LONGEST_HEAD)])
                end = data.find(b"\r\n\r\n")
            if end < 0:
                connection.kept = data
                return len(data) <= _LONGEST_HEAD or self._refuse(connection)
            connection.kept = b""
            at += end + 4 - used
            request = self._begin(connection, data[: end + 2])
            if request is None:
                return False
            size = min(request.left, count - at)
            self._body(connection, request, at, size)
            at += size
        return True

    def _begin(self, connection: _Connection, head: bytes) -> Request | None:
        request = connection.request = Request(head)
        if not self._tally.first:
            self._tally.first = time.monotonic()
        if not request.length:
            if b"ransfer-" in head and b"chunked" in head.lower():
                self._refuse(connection)
                return None
        elif b"100-continue" in head:
            self._send(connection, _CONTINUE)
        if self._dialect.wants_body(request) or (self._checked and b"aws-chunked" in head):
            request.body = bytearray()
        elif self._checked:
            request.digest = hashlib.sha256()
            request.md5 = hashlib.md5(usedforsecurity=False)
        if (request.length < _COMPARE_BELOW or self._checked) and self._dialect.crc in head:
            request.crc = 0
        return request

    def _body(self, connection: _Connection, request: Request, start: int, size: int) -> bool:
        """Take some of a body; True when it was the last of it."""
        if request.body is not None:
            request.body += self._view[start : start + size]
        elif request.digest is not None and request.md5 is not None:
            request.digest.update(self._view[start : start + size])
            request.md5.update(self._view[start : start + size])
        if request.crc is not None:
            request.crc = checksums.crc64nvme(self._view[start : start + size], request.crc)
        request.left -= size
        if request.left:
            return False
        connection.request = None
        answer = self._dialect.answer(request)
        if self._latency:
            self._waiting.append((time.monotonic() + self._latency, connection, answer))
        else:
            self._send(connection, answer)
        self._tally.last = time.monotonic()
        return True

    def _refuse(self, connection: _Connection) -> bool:
        self._tally.refused += 1
        self._send(connection, _NOT_IMPLEMENTED)
        self._close(connection)
        return False
