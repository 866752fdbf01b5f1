"""What an NFS server exports, asked in its own words: ONC RPC (RFC 5531), its port mapper, and the mount protocol.

Two questions over TCP: at which port the mount protocol (version 3) is served, and what is exported to whom.  Nothing
is mounted.  Whatever a server answers is bounded: sizes, counts and the time that each question may take.  Called by
the restricted shell.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from dataclasses import dataclass

from wherry.model.errors import UsageError

PORT_MAPPER_PORT = 111
SECONDS = 10.0
"""How long a question may take, its connection included."""
MOST_BYTES = 1 << 20

_CALL, _REPLY, _RPC = 0, 1, 2
_NO_PROOF = struct.pack(">4I", 0, 0, 0, 0)
_PORT_MAPPER, _GET_PORT = (100_000, 2), 3
_MOUNT, _EXPORTS = (100_005, 3), 5
_TCP = 6
_LAST = 1 << 31
_LONGEST_PATH = 1024
_LONGEST_NAME = 255
_MOST_EXPORTS = 10_000
_REFUSED = {
    1: "it does not know this service",
    2: "it has another version of this service only",
    3: "it does not know this question",
    4: "it did not understand the question",
    5: "it has trouble of its own",
}


class Garbled(UsageError):
    """An answer that is none of the protocol."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The server's answer makes no sense: {why}.")


@dataclass(frozen=True, slots=True)
class Export:
    """A folder that a server exports, and to which hosts or networks; none named: to all."""

    path: bytes
    to: tuple[bytes, ...]


def exports(host: str, port: int = PORT_MAPPER_PORT, seconds: float = SECONDS) -> list[Export]:
    """What `host` exports by NFS, as its mount service tells; `port` is that of its port mapper.

    Raises `OSError` when it cannot be reached, `UsageError` when it has no such service or answers nonsense.
    """
    question = struct.pack(">4I", *_MOUNT, _TCP, 0)
    answer = Fields(ask(host, port, _PORT_MAPPER, _GET_PORT, question, seconds))
    found = answer.number()
    if not 0 < found < 1 << 16:
        raise UsageError(
            "The server has no mount service (version 3, TCP). One of NFS 4 alone lists no exports: "
            "mount its root instead."
        )
    return read_exports(ask(host, found, _MOUNT, _EXPORTS, b"", seconds))


def ask(
    host: str, port: int, service: tuple[int, int], procedure: int, question: bytes, seconds: float = SECONDS
) -> bytes:
    """The result of one call of a service (program and version) over TCP."""
    number = int.from_bytes(os.urandom(4), "big")
    message = struct.pack(">6I", number, _CALL, _RPC, *service, procedure) + _NO_PROOF + question
    until = time.monotonic() + seconds
    with socket.create_connection((host, port), seconds) as line:
        line.sendall(struct.pack(">I", _LAST | len(message)) + message)
        return read_reply(_record(line, until), number)


def read_reply(reply: bytes, number: int) -> bytes:
    """The result in a reply to the call of this number; raises `UsageError` when it was refused."""
    fields = Fields(reply)
    if (fields.number(), fields.number()) != (number, _REPLY):
        raise Garbled("it belongs to another question")
    if fields.number() != 0:
        raise UsageError("The server refuses to answer who does not prove who he is.")
    fields.number()
    fields.text(400)
    state = fields.number()
    if state != 0:
        raise UsageError(f"The server did not answer: {_REFUSED.get(state, 'it gives no known reason')}.")
    return fields.rest


def read_exports(result: bytes) -> list[Export]:
    """The exports in the result of a call."""
    fields = Fields(result)
    found = []
    while fields.number():
        path = fields.text(_LONGEST_PATH)
        to = []
        while fields.number():
            to.append(fields.text(_LONGEST_NAME))
        found.append(Export(path, tuple(to)))
        if len(found) > _MOST_EXPORTS:
            raise Garbled("it names too many exports")
    return found


class Fields:
    """The fields of a message (XDR, RFC 4506), read one after the other."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = 0

    @property
    def rest(self) -> bytes:
        """What is not read yet."""
        return self._message[self._at :]

    def number(self) -> int:
        """A number of 32 bits."""
        return int.from_bytes(self._take(4), "big")

    def text(self, longest: int) -> bytes:
        """Bytes with their length before them."""
        size = self.number()
        if size > longest:
            raise Garbled("a text in it is too long")
        found = self._take(size)
        self._take(-size % 4)
        return found

    def _take(self, size: int) -> bytes:
        found = self._message[self._at : self._at + size]
        if len(found) < size:
            raise Garbled("it ends too early")
        self._at += size
        return found


def _record(line: socket.socket, until: float) -> bytes:
    """One message, put together from its fragments."""
    message = b""
    while True:
        head = int.from_bytes(_exactly(line, 4, until), "big")
        size = head & (_LAST - 1)
        if len(message) + size > MOST_BYTES:
            raise Garbled("it is too long")
        message += _exactly(line, size, until)
        if head & _LAST:
            return message


def _exactly(line: socket.socket, size: int, until: float) -> bytes:
    found = bytearray()
    while len(found) < size:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError(None, "no answer in time")
        line.settimeout(left)
        piece = line.recv(min(size - len(found), 1 << 16))
        if not piece:
            raise Garbled("it ends too early")
        found += piece
    return bytes(found)
