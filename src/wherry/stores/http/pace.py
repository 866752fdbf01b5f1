"""How fast one server wants to be asked, learnt from how it refuses.

A server that answers 429 or 503 is asked more slowly by all threads at once: each such moment doubles the gap between
requests, and a time that it names is kept.  Without refusals the gap halves every two seconds until there is none, so
that the full rate is back within a minute.  Used by `wire`, for each process and server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from wherry.stores.http.connection import Answer

BUSY = frozenset({429, 503})
_LONGEST_RETRY_AFTER = 60.0
_FIRST_GAP = 0.005
_LONGEST_GAP = 2.0
_NO_GAP = 0.0005
_HALVED_SECONDS = 2.0
# Refusals that come together are one.
_TOGETHER_SECONDS = 0.1


def retry_after(answer: Answer) -> float:
    """How many seconds the server wants to be left alone; 0 when it does not say."""
    try:
        seconds = float(answer.headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


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

    def refused(self, seconds: float = 0.0) -> None:
        """The server was too busy; `seconds` is how long it wants to be left alone."""
        with self._lock:
            now = self._clock()
            self._next = max(self._next, now + seconds)
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
