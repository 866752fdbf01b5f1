"""How much may be sent: bandwidth and requests a second of a run, and the bandwidth of the whole machine.

A few shared bytes hold, for each kind, the moment from which more may be sent; whoever wants to send moves it on by
what that costs and waits until its own turn has come.  So many processes keep one limit with nobody in between.  The
limit of the machine may change at any time, to a pause and back, and whoever waits sees it.  The clock is
CLOCK_BOOTTIME.  Used by `deeds`; made by `pool`.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from wherry.engine.lease import boot_time
from wherry.engine.shared import Sheet

_TURNS = struct.Struct("dd")
# Nobody may save up more than this for later.
_BURST_SECONDS = 0.1
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may do; None is no limit.

    `path` is of what its workers share, `machine` of the sheet of a `MachineLimit`; empty where there is no such limit.
    """

    path: str
    bandwidth: int | None
    requests: int | None
    machine: str = ""


class MachineLimit:
    """What all work on this machine may send together, as its owner sets it; at first there is no limit."""

    def __init__(self) -> None:
        self._sheet = Sheet("wherry-limit", _TURNS.size)
        self.path = self._sheet.path
        self._shared = _Shared(self.path)
        self.set(math.inf)

    def set(self, rate: float) -> None:
        """Bytes a second from now on: inf for any number, 0 for none.  What was waited for under the old one is not."""
        with self._shared as numbers:
            numbers[:] = [0.0, rate]

    def close(self) -> None:
        """Nobody opens it any more."""
        self._shared.close()
        self._sheet.close()


class Pacer:
    """The limits as one worker keeps them.  `look` is called while it waits and may raise."""

    def __init__(self, limits: Limits, look: Callable[[], None]) -> None:
        self._rates = (limits.bandwidth, limits.requests)
        self._look = look
        self._run = _Shared(limits.path) if limits.path else None
        self._machine = _Shared(limits.machine) if limits.machine else None

    @property
    def limited(self) -> bool:
        """Whether anything is limited at this moment."""
        return self._run is not None or (self._machine is not None and self._machine.last() < math.inf)

    def take(self, size: int, requests: int = 1) -> None:
        """Wait until `size` bytes in so many requests may be sent."""
        if self._run is not None:
            self._wait(self._turn((size, requests)))
        if self._machine is not None:
            self._take_of_machine(self._machine, size)

    def _turn(self, wanted: tuple[int, int]) -> float:
        """Move the run's turns on; when ours is."""
        with self._run or nullcontext([0.0, 0.0]) as turns:
            now = boot_time()
            mine = now
            for kind, rate in enumerate(self._rates):
                if rate:
                    begin = max(turns[kind], now - _BURST_SECONDS)
                    mine = max(mine, begin)
                    turns[kind] = begin + wanted[kind] / rate
            return mine

    def _take_of_machine(self, shared: _Shared, size: int) -> None:
        while (rate := shared.last()) < math.inf:
            if self._wait(_turn_of_machine(shared, size), shared, rate):
                return

    def _wait(self, until: float, shared: _Shared | None = None, rate: float = 0.0) -> bool:
        """Wait for a moment, as long as the `rate` is what is `shared`; False when it is not any more."""
        while (left := until - boot_time()) > 0:
            self._look()
            if shared is not None and shared.last() != rate:
                return False
            time.sleep(min(left, _LOOK_SECONDS))
        return True

    def close(self) -> None:
        """Let go of the files."""
        for shared in (self._run, self._machine):
            if shared is not None:
                shared.close()


class _Shared:
    """Two numbers of a sheet; inside a `with` they are this process' and this thread's alone to read and change."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._file, _TURNS.size)
        self._numbers: list[float] = []

    def last(self) -> float:
        """The second number, without waiting for anybody."""
        found: float = _TURNS.unpack_from(self._map)[1]
        return found

    def __enter__(self) -> list[float]:
        self._lock.acquire()
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._numbers = list(_TURNS.unpack_from(self._map))
        return self._numbers

    def __exit__(self, *_: object) -> None:
        _TURNS.pack_into(self._map, 0, *self._numbers)
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._lock.release()

    def close(self) -> None:
        self._map.close()
        os.close(self._file)


def _turn_of_machine(shared: _Shared, size: int) -> float:
    """Move the machine's turn on; when ours is, which is never under a pause."""
    with shared as numbers:
        turn, rate = numbers
        if rate <= 0:
            return math.inf
        now = boot_time()
        begin = max(turn, now - _BURST_SECONDS)
        numbers[0] = begin + size / rate
        return max(now, begin)


def turns() -> Sheet:
    """What the workers of one run share; whoever asked closes it."""
    return Sheet("wherry-pace", _TURNS.size)
