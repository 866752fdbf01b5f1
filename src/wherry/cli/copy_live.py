"""What the engine tells of a copy while it goes on, made into moments for the screen, with what holds it up.

Called by `copy_run` for each report of progress.
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
_BUSY = 0.5
_NAMES = ("source (listing)", "source (reading)", "target", "CPU")
_LIMIT = "limit that was set"


class Observed:
    """The moments of one copy.  `expected` is how many items there will be, 0 while nobody knows."""

    def __init__(
        self, *, expected: int = 0, limited: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._expected = expected
        self._limited = limited
        self._clock = clock
        self._seen: deque[tuple[float, float, tuple[float, ...]]] = deque()

    def moment(self, now: Live) -> Moment:
        """How it stands, from what the engine tells."""
        items, size = dict(now.counters.items), dict(now.counters.bytes)
        found = max(items.get("Scanned", 0), now.items)
        # While the source is listed, nobody knows how much will come, unless a manifest tells it.
        expected = found if not now.scanning else max(self._expected, found) if self._expected else 0
        return Moment(
            RunStatus.RUNNING, items, size, expected, "", 0 if now.scanning else size.get("Scanned", 0),
            (now.items, now.bytes), self._held_up(now),
        )  # fmt: skip

    def _held_up(self, now: Live) -> str:
        """What most of the time of the last seconds went into."""
        at, spent = self._clock(), (now.listing, now.reading, now.writing, now.computing)
        self._seen.append((at, max(now.threads, 1) * 1.0, spent))
        while at - self._seen[0][0] > WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        then, _, before = self._seen[0]
        if at - then < _LEAST:
            return ""
        passed = [late - early for late, early in zip(spent, before, strict=True)]
        threads = sum(one[1] for one in self._seen) / len(self._seen)
        total = sum(passed)
        if self._limited and total < _BUSY * threads * (at - then):
            return _LIMIT
        if total <= 0:
            return ""
        most = max(range(len(passed)), key=passed.__getitem__)
        return f"{_NAMES[most]}, {passed[most] / total:.0%}"
