"""How long the right to write lasts, told to every process that writes; and what these processes tell of their work.

A pool shares a few numbers (`LeaseTable`) with its worker processes, mapped into each.  Each lease takes a slot of
them: its owner moves the deadline when a renewal succeeds, workers look at it right before each visible change and
count there what they did.  Every number has one writer.  The clock is CLOCK_BOOTTIME, which also counts while a
machine sleeps, so that a paused holder finds its time over.  Called by the agent and by `wherry copy`; adapters see
only the fence.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import time
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import lru_cache

from wherry.engine.shared import Sheet
from wherry.model.errors import LeaseLost, RunError
from wherry.model.wire import Renewal

SLOTS = 64
_COLUMNS = 16
_SIZE = SLOTS * _COLUMNS * 8
_ALL_STUCK = (
    f"{SLOTS} workers hang and cannot be ended: a disk or a mount of this machine does not answer. "
    "Mend that or restart the machine, then run again to go on."
)


class _Column(IntEnum):
    """The numbers of a slot; the first three and the last are the owner's, the others the worker's."""

    DEADLINE = 0
    STOP = 1
    HUNGRY = 2
    SERVED = 3
    MOVES = 4
    ITEMS = 5
    BYTES = 6
    LISTING = 7
    READING = 8
    WRITING = 9
    COMPUTING = 10
    THREADS = 11
    LENGTH = 12


def boot_time() -> float:
    """Seconds since boot, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """What tells one start of this machine from the next."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


@dataclass(slots=True)
class Effort:
    """What workers did since their leases began: items and bytes that ended, and seconds by where they went."""

    items: float = 0
    bytes: float = 0
    listing: float = 0.0
    reading: float = 0.0
    writing: float = 0.0
    computing: float = 0.0
    threads: float = 0

    def add(self, other: Effort) -> None:
        """Add what another did."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


_EFFORTS = (
    ("items", _Column.ITEMS),
    ("bytes", _Column.BYTES),
    ("listing", _Column.LISTING),
    ("reading", _Column.READING),
    ("writing", _Column.WRITING),
    ("computing", _Column.COMPUTING),
    ("threads", _Column.THREADS),
)


class LeaseTable:
    """The shared numbers, opened by their path in any process of this machine."""

    def __init__(self, path: str) -> None:
        self.path = path
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self.numbers = memoryview(self._map).cast("d")


def table_at(path: str) -> LeaseTable:
    """The table that is there now, mapped once; by another owner there may be another one later."""
    return _table(path, os.stat(path).st_ino)


@lru_cache(maxsize=4)
def _table(path: str, _: int) -> LeaseTable:
    return LeaseTable(path)


class LeaseClock:
    """One lease, as its owner and as its worker see it.

    `stuck` when a process that works under it can not even be killed.
    """

    def __init__(self, table: LeaseTable, slot: int) -> None:
        self._numbers = table.numbers
        self.table = table.path
        self.slot = slot
        self._at = slot * _COLUMNS
        # Asked for with every file.
        self._moves = self._at + int(_Column.MOVES)
        self.stuck = False
        self._ended = False
        self._lock = threading.Lock()
        self._seen = self._numbers[self._at + _Column.MOVES]

    # ------------------------------------------------------------ the owner

    def extend(self, asked_at: float, ttl: float) -> None:
        """The lease lasts `ttl` seconds from `asked_at` (`boot_time` before the request), unless it was ended."""
        with self._lock:
            if not self._ended:
                self._numbers[self._at] = asked_at + ttl
                self._numbers[self._at + _Column.LENGTH] = ttl

    def renewed(self, asked_at: float, renewal: Renewal) -> None:
        """Take what the keeper of the ledger answered to a renewal or commit that was asked for at `asked_at`."""
        self.extend(asked_at, renewal.ttl)
        if renewal.split:
            self.ask_to_split()
        if renewal.stop:
            self.ask_to_stop()

    def forever(self) -> None:
        """A lease that nobody else can take."""
        self.extend(0.0, math.inf)

    def moved(self) -> bool:
        """Whether anything was finished or sent since the last call."""
        now = self._numbers[self._at + _Column.MOVES]
        moved = now != self._seen
        self._seen = now
        return moved

    def ask_to_split(self) -> None:
        """Others have nothing to do: have the worker give a part of its work away."""
        self._numbers[self._at + _Column.HUNGRY] += 1

    def ask_to_stop(self) -> None:
        """Have the worker end after what is under way."""
        self._numbers[self._at + _Column.STOP] = 1

    def effort(self) -> Effort:
        """What the worker told so far."""
        return Effort(**{name: self._numbers[self._at + column] for name, column in _EFFORTS})

    def clear(self) -> None:
        """Make the slot as new."""
        for column in range(_COLUMNS):
            self._numbers[self._at + column] = 0.0
        self._seen = 0.0

    # ------------------------------------------------------------ both

    def fence(self) -> None:
        """Raise `LeaseLost` when the time is over."""
        if self._ended or boot_time() >= self._numbers[self._at]:
            raise LeaseLost("its time ran out before it was renewed")

    def remaining(self) -> float:
        """Seconds until the time is over; negative when it is."""
        left = self._numbers[self._at] - boot_time()
        return min(left, -1.0) if self._ended else left

    def end(self) -> None:
        """From now on nothing more is written by this process, whatever a renewal that is under way brings.

        Ended by the owner, nothing is written by any process.
        """
        with self._lock:
            self._ended = True

    def revoke(self) -> None:
        """The owner's `end`."""
        with self._lock:
            self._ended = True
            # Since when it is over tells how long a worker has not seen it.
            self._numbers[self._at] = min(self._numbers[self._at], boot_time())

    # ------------------------------------------------------------ the worker

    @property
    def stop(self) -> bool:
        """Whether somebody asked to stop."""
        return self._numbers[self._at + _Column.STOP] != 0

    @property
    def ending(self) -> bool:
        """Whether it was not renewed when it should have been: what is finished had better be committed."""
        return 0 < 3 * self.remaining() < self._numbers[self._at + _Column.LENGTH]

    @property
    def split(self) -> bool:
        """Whether somebody waits for work."""
        return self._numbers[self._at + _Column.HUNGRY] != self._numbers[self._at + _Column.SERVED]

    def served(self) -> None:
        """Work was given away: until the next asking nobody waits."""
        self._numbers[self._at + _Column.SERVED] = self._numbers[self._at + _Column.HUNGRY]

    def note(self) -> None:
        """Something was done."""
        self._numbers[self._moves] += 1

    def advance(self) -> None:
        """`fence` and `note` in one call, for what is done with every file."""
        self.fence()
        self._numbers[self._moves] += 1

    def tell(self, effort: Effort) -> None:
        """Tell what was done so far under this lease."""
        for name, column in _EFFORTS:
            self._numbers[self._at + column] = getattr(effort, name)
        self.note()


class LeaseClocks:
    """The table as its owner keeps it: which slots are free."""

    def __init__(self) -> None:
        self._sheet = Sheet("wherry-leases", _SIZE)
        self.table = LeaseTable(self._sheet.path)
        self._free = list(range(SLOTS))
        self._lock = threading.Lock()

    def take(self) -> LeaseClock:
        """A slot for a new lease, with its time over until it is extended.

        Raises `RunError` when under each of them a worker may still write that nobody can end.
        """
        with self._lock:
            if not self._free:
                raise RunError("AZSM1060", _ALL_STUCK)
            clock = LeaseClock(self.table, self._free.pop(0))
        clock.clear()
        return clock

    def give_back(self, clock: LeaseClock) -> None:
        """Free a slot, unless somebody may still work under it."""
        clock.revoke()
        if not clock.stuck:
            with self._lock:
                self._free.append(clock.slot)

    def close(self) -> None:
        """Remove the table; whoever has it open keeps what it has."""
        self._sheet.close()
