"""How long the right to write lasts, told to every process that writes.

A pool shares one table of deadlines (`LeaseClocks`) with its worker processes.  Each lease takes a slot of it:
the agent moves the deadline when a renewal succeeds, workers look at it right before each visible change.  The
clock is CLOCK_BOOTTIME, which also counts while a machine sleeps, so that a paused holder finds its time over.
Called by the agent and by `wherry copy`; adapters see only the fence.
"""

from __future__ import annotations

import ctypes
import math
import threading
import time
from collections.abc import Callable
from multiprocessing.sharedctypes import RawArray

from wherry.model.errors import LeaseLost

SLOTS = 64


def boot_time() -> float:
    """Seconds since boot, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """What tells one start of this machine from the next."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


class LeaseClocks:
    """The shared table: a deadline and a count of movements for each slot."""

    def __init__(self) -> None:
        self.deadlines: ctypes.Array[ctypes.c_double] = RawArray(ctypes.c_double, SLOTS)
        self.moves: ctypes.Array[ctypes.c_ulonglong] = RawArray(ctypes.c_ulonglong, SLOTS)
        self._free = list(range(SLOTS))
        self._lock = threading.Lock()

    def take(self) -> LeaseClock:
        """A slot for a new lease, with its time over until it is extended."""
        with self._lock:
            slot = self._free.pop(0)
        self.deadlines[slot] = 0.0
        return LeaseClock(self, slot)

    def give_back(self, slot: int) -> None:
        """Free a slot; only when no work of its lease is in flight any more."""
        self.deadlines[slot] = 0.0
        with self._lock:
            self._free.append(slot)


def fence_of(deadlines: ctypes.Array[ctypes.c_double], slot: int) -> Callable[[], None]:
    """The fence of a slot: raises `LeaseLost` when its time is over."""

    def fence() -> None:
        if boot_time() >= deadlines[slot]:
            raise LeaseLost("its time ran out before it was renewed")

    return fence


class LeaseClock:
    """One lease as its holder sees it.

    `split` and `stop` are what the keeper of the ledger asked for with the last renewal or commit; `stuck`
    when a process that works under it can not even be killed.
    """

    def __init__(self, clocks: LeaseClocks, slot: int) -> None:
        self._clocks = clocks
        self.slot = slot
        self.fence = fence_of(clocks.deadlines, slot)
        self.split = False
        self.stop = False
        self.stuck = False
        self._ended = False
        self._lock = threading.Lock()
        self._seen = clocks.moves[slot]

    def extend(self, asked_at: float, ttl: float) -> None:
        """The lease lasts `ttl` seconds from `asked_at` (`boot_time` before the request), unless it was ended."""
        with self._lock:
            if not self._ended:
                self._clocks.deadlines[self.slot] = asked_at + ttl

    def forever(self) -> None:
        """A lease that nobody else can take."""
        self.extend(0.0, math.inf)

    def end(self) -> None:
        """From now on nothing more is written, whatever a renewal that is under way brings."""
        with self._lock:
            self._ended = True
            self._clocks.deadlines[self.slot] = 0.0

    def remaining(self) -> float:
        """Seconds until the time is over; negative when it is."""
        return float(self._clocks.deadlines[self.slot]) - boot_time()

    def note(self) -> None:
        """Something was done in this process."""
        self._clocks.moves[self.slot] += 1

    def moved(self) -> bool:
        """Whether anything was finished or sent since the last call."""
        now = self._clocks.moves[self.slot]
        moved = bool(now != self._seen)
        self._seen = now
        return moved

    def close(self) -> None:
        """Give the slot back, unless somebody may still look at it."""
        self.end()
        if not self.stuck:
            self._clocks.give_back(self.slot)
