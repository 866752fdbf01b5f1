"""Many requests under way at once, each on a connection of its own, all driven by one thread.

Threads would do the same for a slow server, but a fast one answers sooner than Python changes threads.  A connection
is added when all are busy, up to a limit, and made by a thread of its own so that nobody waits for handshakes.  A
request either succeeds, with an answer that has no body, or nothing more is known of it: whoever sent it asks
again in the patient way.  Called by `lane`.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from wherry.model.errors import StoreError
from wherry.stores.http.connection import Connection, Lost, Unreached
from wherry.stores.http.pace import BUSY
from wherry.stores.http.wire import Wire

MOST = 192
# As many do for a server next door.  Of one that is farther away: four times what a thread can send in a second, as
# answers are seldom as quick as the quickest.
_LEAST = 16
_A_SECOND = 80_000
_MOST_BYTES = 16 * 1024 * 1024
_DIALLED_AT_ONCE = 8
_ANSWER_SECONDS = 60.0
_LOOK_SECONDS = 0.5
# As long nobody is asked for more connections after one was refused.
_SULKING_SECONDS = 5.0
_LONGEST_ANSWER = 64 * 1024
# Most answers are far shorter, and room for more has to be made each time.
_PIECE = 4096
_END = b"\r\n\r\n"
_BUSY = {str(status).encode() for status in BUSY}
_SUCCESSES = (b"HTTP/1.1 200", b"HTTP/1.1 201")

T = TypeVar("T")


class _Boat(Generic[T]):
    """A connection, with what it carries."""

    __slots__ = ("connection", "load", "received", "sent_at", "size", "unsent")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.load: T | None = None
        self.size = 0
        self.sent_at = 0.0
        self.unsent = memoryview(b"")
        self.received = b""


class Fleet(Generic[T]):
    """The connections of one thread.

    `arrived` is told, for each load that was sent, whether it was carried out; if not, it may have been all the same.
    `look` is called while all are waited for and may raise.
    """

    def __init__(self, wire: Wire, arrived: Callable[[T, bool], None], look: Callable[[], None]) -> None:
        self._wire = wire
        self._arrived = arrived
        self._look = look
        self._boats: dict[int, _Boat[T]] = {}
        self._idle: list[_Boat[T]] = []
        self._size = 0
        self._quickest = 0.0
        self._poll = select.epoll()
        self._dock = _Dock(wire)
        self._poll.register(self._dock.bell, select.EPOLLIN)

    @property
    def under_way(self) -> int:
        """How many requests are not answered yet."""
        return len(self._boats) - len(self._idle)

    def send(self, head: bytes, body: bytes, load: T) -> bool:
        """Send a request as soon as a connection is free for it; False when none can be had, and nothing was sent."""
        size = len(body)
        # Most often there is one, without a look at what has arrived.
        boat = self._idle.pop() if self._has_room(size) else self._free(size)
        if boat is None:
            return False
        boat.load, boat.size, boat.sent_at = load, size, time.monotonic()
        self._size += size
        try:
            self._push(boat, boat.connection.sealed(head + body))
        except OSError:
            self._sink(boat)
        return True

    def wait(self, seconds: float | None = None) -> None:
        """Take in what has arrived; wait for the first when nothing has."""
        events = self._poll.poll(_LOOK_SECONDS if seconds is None else seconds)
        for fd, event in events:
            boat = self._boats.get(fd)
            if boat is None:
                self._take_new()
                continue
            try:
                if event & select.EPOLLOUT:
                    self._push(boat, boat.unsent)
                if event & ~select.EPOLLOUT:
                    self._receive(boat)
            except (OSError, Lost):
                self._sink(boat)
        if not events and seconds is None:
            self._look()
            self._give_up()

    def close(self) -> None:
        """Wait for all answers, then leave the connections to the next fleet."""
        self._look = lambda: None  # Whoever looks has no say any more.
        self._dock.close()
        while self.under_way:
            self.wait()
        for boat in self._boats.values():
            self._wire.keep(boat.connection)
        self._boats.clear()
        self._idle.clear()
        self._poll.close()

    # ------------------------------------------------------------ connections

    def _free(self, size: int) -> _Boat[T] | None:
        """A connection that carries nothing, as soon as so many bytes more may be under way."""
        self.wait(0)
        while not self._has_room(size):
            if not self._idle and self._take_kept():
                continue
            if not self._idle and len(self._boats) + self._dock.busy < self._enough():
                self._dock.call()
            if not self._boats and self._dock.is_empty:
                return None
            self.wait()
        return self._idle.pop()

    def _has_room(self, size: int) -> bool:
        return bool(self._idle) and (not self._size or self._size + size <= _MOST_BYTES)

    def _enough(self) -> int:
        """As many connections as can be of use, by the quickest answer so far: each costs both sides a handshake."""
        return max(_LEAST, min(MOST, int(self._quickest * _A_SECOND)))

    def _take_kept(self) -> bool:
        """Take a connection that an earlier fleet has left, if there is one."""
        connection = self._wire.kept() if len(self._boats) < MOST else None
        if connection is not None:
            self._add(connection)
        return connection is not None

    def _take_new(self) -> None:
        for connection in self._dock.made():
            connection.socket.setblocking(False)
            self._add(connection)

    def _add(self, connection: Connection) -> None:
        boat: _Boat[T] = _Boat(connection)
        fd = connection.socket.fileno()
        self._boats[fd] = boat
        self._idle.append(boat)
        self._poll.register(fd, select.EPOLLIN)

    def _sink(self, boat: _Boat[T], *, done: bool = False) -> None:
        """Hang up; what it carried is in doubt unless it is `done`."""
        del self._boats[boat.connection.socket.fileno()]
        boat.connection.close()
        if boat.load is None:
            self._idle.remove(boat)
        else:
            self._unload(boat, done=done)

    def _unload(self, boat: _Boat[T], *, done: bool) -> None:
        load, boat.load = boat.load, None
        self._size -= boat.size
        if load is not None:
            self._arrived(load, done)

    def _give_up(self) -> None:
        """Sink those whose answers are overdue."""
        overdue = time.monotonic() - _ANSWER_SECONDS
        for boat in list(self._boats.values()):
            if boat.load is not None and boat.sent_at < overdue:
                self._sink(boat)

    # ------------------------------------------------------------ bytes

    def _push(self, boat: _Boat[T], data: bytes | memoryview) -> None:
        """Send as much as the system takes now, and the rest when it takes more."""
        waited = len(boat.unsent)
        try:
            sent = boat.connection.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            boat.unsent = memoryview(data)[sent:]
            boat.sent_at = time.monotonic()
            if not waited:
                self._poll.modify(boat.connection.socket, select.EPOLLIN | select.EPOLLOUT)
        elif waited:
            boat.unsent = memoryview(b"")
            self._poll.modify(boat.connection.socket, select.EPOLLIN)

    def _receive(self, boat: _Boat[T]) -> None:
        """Take in a piece of an answer, most often the whole."""
        try:
            piece = boat.connection.socket.recv(_PIECE)
        except BlockingIOError:
            return
        if not piece:
            raise Lost("the server hung up")
        piece = boat.connection.unsealed(piece)
        if not piece:
            return
        if boat.load is None or boat.unsent:
            raise Lost("the server answers what was not asked")
        received = boat.received + piece if boat.received else piece
        outcome = _outcome(received)
        if outcome is None:
            boat.received = received
            return
        done, keep = outcome
        if not keep:
            if received[9:12] in _BUSY:
                self._wire.pace.refused()
            self._sink(boat, done=done)
            return
        boat.received = b""
        boat.connection.answers += 1
        took = time.monotonic() - boat.sent_at
        self._quickest = min(took, self._quickest or took)
        if boat.connection.answers == 1:
            self._wire.remember(boat.connection)
        self._wire.pace.served()
        self._idle.append(boat)
        self._unload(boat, done=done)


class _Dock:
    """Makes connections, some at a time, in threads of their own; `bell` is readable when one is made or refused."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lock = threading.Lock()
        self._made: deque[Connection] = deque()
        self._open = True
        self._refused_at = 0.0
        self.busy = 0
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    @property
    def is_empty(self) -> bool:
        """Whether none is made and none is being made."""
        with self._lock:
            return not self.busy and not self._made

    def call(self) -> None:
        """Ask for one more; not right after one was refused."""
        with self._lock:
            refused = self._refused_at and time.monotonic() - self._refused_at < _SULKING_SECONDS
            if refused or self.busy >= _DIALLED_AT_ONCE:
                return
            self.busy += 1
        threading.Thread(target=self._dial, name="dock", daemon=True).start()

    def _dial(self) -> None:
        made: Connection | None = None
        with suppress(Unreached, StoreError):  # Who asks in the patient way will be told why.
            made = self._wire.connect()
        with self._lock:
            self.busy -= 1
            if made is None:
                self._refused_at = time.monotonic()
            elif self._open:
                self._made.append(made)
            else:
                made.close()
            if self._open:
                os.eventfd_write(self.bell, 1)

    def made(self) -> list[Connection]:
        """Those that were made since the last call."""
        with self._lock:
            with suppress(BlockingIOError):
                os.eventfd_read(self.bell)
            made = list(self._made)
            self._made.clear()
        return made

    def close(self) -> None:
        """Want no more; the bell is silent from now on."""
        with self._lock:
            self._open = False
            for connection in self._made:
                connection.close()
            self._made.clear()
            os.close(self.bell)


def _outcome(received: bytes) -> tuple[bool, bool] | None:
    """Of an answer that is to have no body: whether it is a success, and the connection fit for another.

    None while that cannot be told.
    """
    end = received.find(_END)
    if end < 0:
        if len(received) > _LONGEST_ANSWER or not b"HTTP/1.".startswith(received[:7]):
            return False, False
        return None
    head = received[: end + 2].lower()
    if not received.startswith(_SUCCESSES):
        return False, False
    if b"\r\ncontent-length: 0\r\n" in head:
        whole = end + 4
    elif b"\r\ntransfer-encoding: chunked\r\n" in head:
        whole = end + 9
        if not b"0\r\n\r\n".startswith(received[end + 4 : whole]):
            return False, False
        if len(received) < whole:
            return None
    else:
        return False, False
    return True, len(received) == whole and b"\r\nconnection: close" not in head
