"""A proxy for one HTTP server that loses, cuts, damages and makes up what passes: for what no server does on demand.

Requests are matched by a regular expression on their first line; each `Trouble` strikes once or as often as told.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

What = Literal["lose request", "lose answer", "cut answer", "damage request", "reply"]


@dataclass
class Trouble:
    """What happens to requests whose first line matches.

    `lose request`: hang up before the server sees it.  `lose answer`: the server has done it, nobody says so.
    `cut answer`: half of it.  `damage request`: one byte of the body is another.  `reply`: this, instead of the server.
    """

    pattern: str
    what: What
    times: int = 1
    reply: bytes = b""
    skip: int = 0
    struck: int = field(default=0, init=False)


class FaultyWire:
    """Listens on `port` of 127.0.0.1 and passes all to the server at `upstream`."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.troubles: list[Trouble] = []
        self.seen: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def hang_up(self) -> None:
        """Close the connections that are open now, as a server does with those that were idle for long."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def count(self, pattern: str) -> int:
        """How many requests came whose first line matches."""
        return sum(1 for line in self.seen if re.search(pattern, line))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._open.add(client)
        with client, suppress(OSError), socket.create_connection(self.upstream) as server:
            while request := read_message(client):
                if not self._pass(client, server, request):
                    return

    def _pass(self, client: socket.socket, server: socket.socket, request: bytes) -> bool:
        line = request.partition(b"\r\n")[0].decode()
        with self._lock:
            self.seen.append(line)
            trouble = self._trouble(line)
        what = trouble.what if trouble else ""
        if what == "lose request":
            return False
        if trouble and what == "reply":
            client.sendall(trouble.reply)
            return True
        if what == "damage request":
            request = request[:-1] + bytes([request[-1] ^ 0xFF])
        server.sendall(request)
        answer = read_message(server, is_head=line.startswith("HEAD "))
        if what == "lose answer":
            return False
        client.sendall(answer[: len(answer) // 2] if what == "cut answer" else answer)
        return what != "cut answer"

    def _trouble(self, line: str) -> Trouble | None:
        for trouble in self.troubles:
            if trouble.struck < trouble.times + trouble.skip and re.search(trouble.pattern, line):
                trouble.struck += 1
                if trouble.struck > trouble.skip:
                    return trouble
        return None


def read_message(source: socket.socket, *, is_head: bool = False) -> bytes:
    """One request or answer, whole; nothing when the other side has hung up."""
    message = b""
    while b"\r\n\r\n" not in message:
        piece = source.recv(65536)
        if not piece:
            return b""
        message += piece
    head, _, _ = message.partition(b"\r\n\r\n")
    if is_head:
        return message
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    chunked = re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head)
    whole = len(head) + 4 + (int(length[1]) if length else 0)
    while len(message) < whole or (chunked and not message.endswith(b"\r\n0\r\n\r\n")):
        piece = source.recv(65536)
        if not piece:
            return message
        message += piece
    return message


@contextmanager
def faulty_wire(upstream: tuple[str, int]) -> Iterator[FaultyWire]:
    """A `FaultyWire` for a `with` statement."""
    wire = FaultyWire(upstream)
    try:
        yield wire
    finally:
        wire.close()
