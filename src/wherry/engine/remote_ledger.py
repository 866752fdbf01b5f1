"""The ledger for workers in other processes: calls over a Unix socket to the process that keeps it.

Whoever runs workers opens one `LedgerLine` and puts the ledger of each lease on it; a task carries the line's
`Address` and reaches the ledger by it, from any process of this machine, so that any executor can run it.  In the
line's own process the ledger itself is reached, without a socket.  Used by `pool` and `worker`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import socket
import struct
import threading
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pickle import PicklingError
from typing import Any, cast

from wherry.engine.ledger import Ledger
from wherry.model.errors import LeaseLost
from wherry.model.ledger import Slice, Token, WorkItem
from wherry.model.wire import Progress, Renewal, SegmentName, Sighting, Start

_log = logging.getLogger(__name__)
_CREDENTIALS = struct.Struct("3i")  # process, user, group
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 2.0
_CALLS = frozenset({"commit", "items", "keep", "sight"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where one ledger can be called."""

    process: int
    socket: str
    number: int
    key: bytes = field(repr=False)


def _is_of_this_user(caller: Connection) -> bool:
    """Whoever else finds the line on this machine is not even asked for the key."""
    with socket.socket(fileno=os.dup(caller.fileno())) as line:
        told = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(told)[1] in (0, os.geteuid()))


_lines: dict[str, LedgerLine] = {}


class LedgerLine:
    """The listening side.  Opens its socket when the first task leaves the process."""

    def __init__(self) -> None:
        # A name of the kernel's own: there is no file that anybody could clean away while a run takes weeks.
        self._socket = f"\0wherry-{os.getpid()}-{secrets.token_hex(8)}"
        self._key = secrets.token_bytes(32)
        self._ledgers: dict[int, Ledger] = {}
        self._numbers = itertools.count(1)
        self._listener: Listener | None = None
        self._over = threading.Event()
        _lines[self._socket] = self

    def put(self, ledger: Ledger) -> Address:
        """Make a ledger callable until `take_off`."""
        number = next(self._numbers)
        self._ledgers[number] = ledger
        return Address(os.getpid(), self._socket, number, self._key)

    def take_off(self, address: Address) -> None:
        """From now on calls of this ledger are answered with `LeaseLost`."""
        self._ledgers.pop(address.number, None)

    def ledger(self, number: int) -> Ledger:
        """The ledger of that number."""
        found = self._ledgers.get(number)
        if found is None:
            raise LeaseLost("it was given back")
        return found

    def listen(self) -> None:
        """Open the socket for workers of other processes; nothing happens when it is open."""
        if self._listener is None:
            self._listener = Listener(self._socket, "AF_UNIX", backlog=64)
            threading.Thread(target=self._accept, args=(self._listener,), name="ledger", daemon=True).start()

    def _accept(self, listener: Listener) -> None:
        pause = 0.0
        while True:
            try:
                caller = listener.accept()
            except OSError as trouble:
                if self._listener is None:
                    return
                pause = self._wait(pause, trouble)
                continue
            if self._listener is None:
                caller.close()
                return
            pause = 0.0
            if not _is_of_this_user(caller):
                caller.close()
                continue
            threading.Thread(target=self._answer, args=(caller,), name="ledger", daemon=True).start()

    def _wait(self, pause: float, trouble: OSError) -> float:
        """Wait longer each time: of descriptors or memory there may be none for a while.  Callers wait, too."""
        if not pause:
            _log.warning("No worker can be listened to now, which is tried again and again: %s.", trouble)
        longer = min(_LONGEST_PAUSE, 2 * pause) or _FIRST_PAUSE
        self._over.wait(longer)
        return longer

    def _answer(self, caller: Connection) -> None:
        """Serve one caller, from its proof that it has the key.  Its silence keeps nobody else waiting."""
        with contextlib.suppress(EOFError, OSError, AuthenticationError), caller:
            deliver_challenge(caller, self._key)
            answer_challenge(caller, self._key)
            while True:
                number, call, arguments = caller.recv()
                fine, answer = self._do(number, call, arguments)
                try:
                    caller.send((fine, answer))
                except (TypeError, AttributeError, PicklingError):
                    caller.send((False, RuntimeError(f"an answer that cannot be sent: {answer!r}")))

    def _do(self, number: int, call: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        try:
            if call not in _CALLS:
                raise ValueError(f"no call of a ledger: {call}")
            return True, getattr(self.ledger(number), call)(*arguments)
        except Exception as error:  # noqa: BLE001 - every error belongs to the caller
            return False, error

    def close(self) -> None:
        """Hang up."""
        _lines.pop(self._socket, None)
        self._ledgers.clear()
        self._over.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            # Closing alone does not wake who waits there for a caller.
            with contextlib.suppress(OSError):
                Client(self._socket, "AF_UNIX").close()
            listener.close()


class _RemoteLedger:
    """A ledger in another process; used by one thread at a time."""

    def __init__(self, address: Address) -> None:
        self._number = address.number
        self._lock = threading.Lock()
        try:
            self._line = Client(address.socket, "AF_UNIX", authkey=address.key)
        except (OSError, EOFError) as gone:
            raise LeaseLost("the process that holds it is gone") from gone

    def commit(self, token: Token, progress: Progress) -> Renewal:
        return cast("Renewal", self._call("commit", token, progress))

    def items(self, token: Token, work: Slice, after: bytes, limit: int) -> list[WorkItem]:
        return cast("list[WorkItem]", self._call("items", token, work, after, limit))

    def keep(self, token: Token, seq: int, lines: bytes) -> SegmentName:
        return cast("SegmentName", self._call("keep", token, seq, lines))

    def sight(self, token: Token, sighting: Sighting) -> Start:
        return cast("Start", self._call("sight", token, sighting))

    def _call(self, call: str, *arguments: Any) -> Any:
        with self._lock:
            try:
                self._line.send((self._number, call, arguments))
                fine, answer = self._line.recv()
            except (OSError, EOFError) as gone:
                raise LeaseLost("the process that holds it is gone") from gone
        if not fine:
            raise answer
        return answer

    def close(self) -> None:
        """Hang up."""
        self._line.close()


@contextlib.contextmanager
def reached(address: Address) -> Any:
    """The ledger at an address, as long as the block lasts."""
    if address.process == os.getpid() and address.socket in _lines:
        yield _lines[address.socket].ledger(address.number)
        return
    remote = _RemoteLedger(address)
    try:
        yield remote
    finally:
        remote.close()
