"""How fast one server wants to be asked, learnt from how it refuses.

A server that answers 429 or 503 is asked more slowly by all threads at once: each such moment doubles the gap between
requests (a time that it names is kept by whoever was refused: `patience`).  Without refusals the gap halves every two
seconds until there is none, so that the full rate is back within a minute.  Used by `wire`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BUSY = frozenset({429, 503})
_FIRST_GAP = 0.005
_LONGEST_GAP = 2.0
_NO_GAP = 0.0005
_HALVED_SECONDS = 2.0
# Refusals that come together are one.
_TOGETHER_SECONDS = 0.1


class Pace:
    """The pace of one process towards one server.  `clock` and `sleep` are for the tests."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self.slow = False
        self._gap = 0.0
        self._turned_at = 0.0
        self._next = 0.0

    def wait(self) -> None:
        """Wait for the turn of one more request; at once as long as the server has not refused any."""
        if not self.slow:
            return
        with self._lock:
            now = self._clock()
            at = max(now, self._next)
            self._next = at + self._gap
        if at > now:
            self._sleep(at - now)

    def refused(self) -> None:
        """The server was too busy."""
        with self._lock:
            now = self._clock()
            if self.slow and now - self._turned_at < _TOGETHER_SECONDS:
                return
            self._gap = min(_LONGEST_GAP, self._gap * 2) if self.slow else _FIRST_GAP
            self.slow, self._turned_at = True, now

    def served(self) -> None:
        """The server took a request."""
        if not self.slow:
            return
        with self._lock:
            now = self._clock()
            if now - self._turned_at < _HALVED_SECONDS:
                return
            self._gap, self._turned_at = self._gap / 2, now
            self.slow = self._gap > _NO_GAP
