"""One connection to a server of HTTP/1.1, plain or by TLS: a request goes out, its answer comes in.

Written for small requests at a high rate: one write, one read, one copy of the answer's head, which is taken apart
only when somebody asks for it.  Sockets block, with the system's own time limits, so that no call is needed to wait.
TLS runs over buffers in memory for the same reason: a record is never read in two calls.  Called by `wire`.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

# A kept connection that was idle for longer is looked at before it is used again.
IDLE_SECONDS = 0.5
LONGEST_BODY = 256 * 1024 * 1024
_RECEIVE = 64 * 1024
_ONE_WRITE = 64 * 1024
# As much as is encrypted before it is sent, small enough to stay in the processor's cache.
_SEALED_AT_ONCE = 256 * 1024


class Unreached(Exception):
    """Nothing of the request reached the server."""


class Lost(Exception):
    """The request was sent, but no whole answer came: whether it was carried out is unknown."""


class HungUp(Lost):
    """The server closed a connection that had been kept, instead of answering on it: no trouble, but `Lost` it is."""


class Headers(Mapping[str, str]):
    """The headers of an answer by their names in lower case, taken apart at the first question."""

    __slots__ = ("_found", "_head")

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._found: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._found is None:
            self._found = {}
            for line in self._head.decode("latin-1").split("\r\n")[1:]:
                name, _, value = line.partition(":")
                self._found[name.strip().lower()] = value.strip()
        return self._found

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class Answer(NamedTuple):
    """What a server said; names of `headers` in lower case.

    `code` is the service's own word for an error, set by whoever knows where that service puts it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | memoryview
    code: str = ""


class Connection:
    """One connection and what was received on it and not yet read."""

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.used = time.monotonic()
        # Whether the last answer leaves the connection fit for another request.
        self.keep = True
        # Answers so far, and whether anything of the next one has come.
        self.answers = 0
        self.silent = True
        self._buffer = bytearray(_RECEIVE)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def is_stale(self) -> bool:
        """Whether the server has hung up or spoken out of turn while nothing was asked."""
        if time.monotonic() - self.used < IDLE_SECONDS:
            return False
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def limit(self, seconds: float) -> None:
        """How long the system waits for a piece to come or go."""
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def session(self) -> ssl.SSLSession | None:
        """What makes the next handshake with this server shorter; known after the first answer."""
        return None

    def close(self) -> None:
        self.socket.close()

    def __del__(self) -> None:
        self.socket.close()

    # ------------------------------------------------------------ bytes

    def send(self, head: bytes, body: bytes | memoryview) -> None:
        if len(body) <= _ONE_WRITE:
            self.socket.sendall(head + body)
            return
        # The system takes both in one call, most often whole.
        sent = self.socket.sendmsg((head, body))
        if sent < len(head):
            self.socket.sendall(head[sent:])
            sent = len(head)
        if sent < len(head) + len(body):
            self.socket.sendall(memoryview(body)[sent - len(head) :])

    def _take(self, room: memoryview) -> int:
        """Read what there is into `room`, at least one byte; 0 at the end."""
        return self.socket.recv_into(room)

    def _fill(self, room: memoryview) -> int:
        """Read into `room`, best all of it."""
        return self.socket.recv_into(room, 0, socket.MSG_WAITALL)

    def sealed(self, data: bytes) -> bytes:
        """What goes over the wire for `data`, for whoever sends it himself."""
        return data

    def unsealed(self, data: bytes) -> bytes:
        """What came by what was received; nothing when there is more to come first."""
        return data

    # ------------------------------------------------------------ answers

    def receive(self, bodiless: bool) -> Answer:
        """The next answer; `bodiless` when it is one to a HEAD.  Sets `keep`."""
        head = self._head()
        status = int(head[9:12])
        while 100 <= status < 200:
            head = self._head()
            status = int(head[9:12])
        self.answers += 1
        headers = Headers(head)
        keep = head[7:8] != b"0"
        low = head.lower()
        if b"\r\nconnection:" in low:
            keep = headers["connection"].lower() != "close"
        body: bytes | memoryview = b""
        if bodiless or status in (204, 304):
            pass
        elif b"\r\ntransfer-encoding:" in low and headers["transfer-encoding"].lower() == "chunked":
            body = self._chunks()
        elif (at := low.find(b"\r\ncontent-length:")) >= 0:
            size = number(low[at + 17 :].partition(b"\r\n")[0], 10)
            body = self._exactly(size) if size else b""
        else:
            body, keep = self._until_end(), False
        self.used = time.monotonic()
        self.silent = True
        self.keep = keep and self._start == self._end
        return Answer(status, headers, body)

    def _more(self) -> None:
        """Read more into the buffer, behind what is there."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == _RECEIVE:
            if not self._start:
                raise Lost("the answer's header or a line of it does not end")
            left = self._buffer[self._start : self._end]
            self._buffer[: len(left)] = left
            self._start, self._end = 0, len(left)
        count = self._take(self._view[self._end :])
        if not count:
            raise Lost("the server hung up")
        self.silent = False
        self._end += count

    def _up_to(self, mark: bytes) -> bytes:
        """What comes before `mark`, which is read, too."""
        while (found := self._buffer.find(mark, self._start, self._end)) < 0:
            self._more()
        piece = bytes(self._view[self._start : found])
        self._start = found + len(mark)
        return piece

    def _head(self) -> bytes:
        head = self._up_to(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit() or head[12:13].isdigit():
            raise Lost("the answer is not HTTP")
        return head

    def _exactly(self, size: int) -> bytes | memoryview:
        if size <= self._end - self._start:
            self._start += size
            return bytes(self._view[self._start - size : self._start])
        if size > LONGEST_BODY:
            raise Lost("the answer is longer than any we ask for")
        whole = memoryview(bytearray(size))
        got = self._end - self._start
        whole[:got] = self._view[self._start : self._end]
        self._start = self._end = 0
        while got < size:
            count = self._fill(whole[got:])
            if not count:
                raise Lost("the server hung up in the middle of its answer")
            got += count
        return whole

    def _chunks(self) -> bytes:
        whole = bytearray()
        while size := number(self._up_to(b"\r\n").partition(b";")[0], 16):
            if len(whole) + size > LONGEST_BODY:
                raise Lost("the answer is longer than any we ask for")
            whole += self._exactly(size)
            self._up_to(b"\r\n")
        while self._up_to(b"\r\n"):
            pass
        return bytes(whole)

    def _until_end(self) -> bytes:
        whole = bytearray(self._view[self._start : self._end])
        self._start = self._end = 0
        while len(whole) <= LONGEST_BODY and (count := self._take(self._view)):
            whole += self._view[:count]
        return bytes(whole)


class SecureConnection(Connection):
    """The same by TLS.  `made` is connected and silent; the handshake is made here."""

    def __init__(
        self, made: socket.socket, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None
    ) -> None:
        super().__init__(made)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._sealed = memoryview(bytearray(_RECEIVE))
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=host, session=session)

    def session(self) -> ssl.SSLSession | None:
        return self.tls.session

    def shake_hands(self) -> None:
        """Raises `OSError`, of which `ssl.SSLError` is one."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._unsealed():
                    raise ConnectionResetError("the server hung up") from None
            except ssl.SSLError:
                self._flush()
                raise
            else:
                self._flush()
                return

    def send(self, head: bytes, body: bytes | memoryview) -> None:
        if len(body) <= _ONE_WRITE:
            self.tls.write(head + body)
            self._flush()
            return
        self.tls.write(head)
        whole = memoryview(body)
        for at in range(0, len(whole), _SEALED_AT_ONCE):
            self.tls.write(whole[at : at + _SEALED_AT_ONCE])
            self._flush()

    def _flush(self) -> None:
        if self._out.pending:
            self.socket.sendall(self._out.read())

    def _unsealed(self) -> int:
        """Let what came go to where TLS reads it."""
        count = self.socket.recv_into(self._sealed)
        if count:
            self._in.write(self._sealed[:count])
        return count

    def _take(self, room: memoryview) -> int:
        while True:
            # TLS is asked only when it may have something: to be refused costs more than to read.
            if not self._in.pending and not self.tls.pending() and not self._unsealed():
                raise Lost("the server hung up")
            try:
                count: int = self.tls.read(len(room), room)  # type: ignore[assignment]
            except ssl.SSLWantReadError:
                count = -1
            self._flush()
            if count >= 0:
                return count
            if not self._unsealed():
                raise Lost("the server hung up")

    _fill = _take

    def sealed(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self._out.read()

    def unsealed(self, data: bytes) -> bytes:
        self._in.write(data)
        pieces = []
        try:
            # TLS is asked only when it may have something: to be refused costs more than to read.
            while (self._in.pending or self.tls.pending()) and (piece := self.tls.read(_RECEIVE)):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            if not pieces:
                raise
        return b"".join(pieces)


def number(text: bytes, radix: int) -> int:
    """A number as HTTP writes it."""
    digits = text.strip()
    if not digits.isalnum():
        raise Lost("the answer is not HTTP")
    try:
        return int(digits, radix)
    except ValueError:
        raise Lost("the answer is not HTTP") from None
