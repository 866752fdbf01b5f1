"""What the engine tells of a copy while it goes on, made into moments for the screen, with what holds it up.

Called by `copy_run` for each report of progress.  An item of an object store takes a request at least, so a rate of
items near the limit of requests is that limit at work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from wherry.cli.live import Moment
from wherry.model.run import RunStatus

if TYPE_CHECKING:
    from wherry.engine.copy import Live

WINDOW = 10.0
_LEAST = 1.0
_NEAR = 0.85
_NAMES = ("source (listing)", "source (reading)", "target", "CPU")
_LIMIT = "limit that was set"
_STOPPING = "What is under way is finished; interrupt again to end at once."


class Observed:
    """The moments of one copy.

    `expected` is how many items and bytes there will be, 0 where nobody knows; the limits are those that were set.
    """

    def __init__(
        self,
        expected: tuple[int, int] = (0, 0),
        bandwidth: int | None = None,
        requests: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected = expected
        self._limits = (requests, bandwidth)
        self._clock = clock
        self._seen: deque[tuple[float, tuple[int, int], tuple[float, ...]]] = deque()

    def moment(self, now: Live) -> Moment:
        """How it stands, from what the engine tells."""
        items, size = dict(now.counters.items), dict(now.counters.bytes)
        found = max(items.get("Scanned", 0), now.items)
        whole = (found, size.get("Scanned", 0))
        if now.scanning:
            # Nobody knows how much will come, unless a manifest or an earlier report tells it.
            whole = (max(self._expected[0], found) if self._expected[0] else 0, self._expected[1])
        done = (now.items, now.bytes)
        if now.stopping:
            return Moment(RunStatus.CANCELING, items, size, whole[0], _STOPPING, whole[1], done)
        return Moment(RunStatus.RUNNING, items, size, whole[0], "", whole[1], done, self._held_up(now))

    def _held_up(self, now: Live) -> str:
        """What most of the time of the last seconds went into."""
        at, spent = self._clock(), (now.listing, now.reading, now.writing, now.computing)
        self._seen.append((at, (now.items, now.bytes), spent))
        while at - self._seen[0][0] > WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        then, early_done, before = self._seen[0]
        if at - then < _LEAST:
            return ""
        passed = [late - early for late, early in zip(spent, before, strict=True)]
        done = ((now.items - early_done[0]) / (at - then), (now.bytes - early_done[1]) / (at - then))
        # Who waits for a limit seems to be busy with the target.
        if any(limit and rate >= _NEAR * limit for rate, limit in zip(done, self._limits, strict=True)):
            return _LIMIT
        total = sum(passed)
        if total <= 0:
            return ""
        most = max(range(len(passed)), key=passed.__getitem__)
        return f"{_NAMES[most]}, {passed[most] / total:.0%}"
