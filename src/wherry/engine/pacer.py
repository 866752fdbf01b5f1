"""How much a run may send: bandwidth and requests a second, shared by all workers of one machine.

A few shared bytes hold, for each kind, the moment from which more may be sent; whoever wants to send moves it on by
what that costs and waits until its own turn has come.  So many processes keep one limit with nobody in between.  The
clock is CLOCK_BOOTTIME.  Used by `transfer`; made by `pool` for a run that has a limit.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from wherry.engine.lease import boot_time
from wherry.engine.shared import Sheet

_TURNS = struct.Struct("dd")
# Nobody may save up more than this for later.
_BURST_SECONDS = 0.1
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may do; None is no limit.  `path` is of what its workers share."""

    path: str
    bandwidth: int | None
    requests: int | None


class Pacer:
    """The limits as one worker keeps them.  `look` is called while it waits and may raise."""

    def __init__(self, limits: Limits, look: Callable[[], None]) -> None:
        self._rates = (limits.bandwidth, limits.requests)
        self._look = look
        self._lock = threading.Lock()
        self._file = os.open(limits.path, os.O_RDWR | os.O_CLOEXEC)
        self._turns = mmap.mmap(self._file, _TURNS.size)

    def take(self, size: int, requests: int = 1) -> None:
        """Wait until `size` bytes in so many requests may be sent."""
        until = self._turn((size, requests))
        while (left := until - boot_time()) > 0:
            self._look()
            time.sleep(min(left, _LOOK_SECONDS))

    def _turn(self, wanted: tuple[int, int]) -> float:
        """Move the turns on; when ours is."""
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                now = boot_time()
                turns = list(_TURNS.unpack_from(self._turns))
                mine = now
                for kind, rate in enumerate(self._rates):
                    if rate:
                        begin = max(turns[kind], now - _BURST_SECONDS)
                        mine = max(mine, begin)
                        turns[kind] = begin + wanted[kind] / rate
                _TURNS.pack_into(self._turns, 0, *turns)
                return mine
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        self._turns.close()
        os.close(self._file)


def turns() -> Sheet:
    """What the workers of one run share; whoever asked closes it."""
    return Sheet("wherry-pace", _TURNS.size)
