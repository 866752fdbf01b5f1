"""What a process counts of itself: requests that were answered, and when each of its duties was done last.

Kept in memory and gone with the process, as Prometheus expects of counters.  Filled by `middleware`, `app` and the
duties themselves, shown by `metrics`.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

UNKNOWN = "none"
"""The class of requests that no route took."""


@dataclass(slots=True)
class Duty:
    """One duty: it should be done every `every` seconds, and was `done_at`, or began to be looked at then."""

    every: float
    done_at: float
    rounds: int = 0

    def late(self, now: float) -> float:
        """By how much it is overdue."""
        return max(0.0, now - self.done_at - self.every)


class Pulse:
    """One a process."""

    def __init__(self) -> None:
        self.duties: dict[str, Duty] = {}
        self._requests: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()

    def answered(self, area: str, status: int) -> None:
        """Count an answer; `area` is the class of its route."""
        with self._lock:
            self._requests[(area, status)] += 1

    def requests(self) -> dict[tuple[str, int], int]:
        """Answers by class and status."""
        with self._lock:
            return dict(self._requests)

    def expect(self, duty: str, every: float, now: float) -> None:
        """A duty begins: from now on it can be late."""
        self.duties[duty] = Duty(every, now)

    def done(self, duty: str, now: float) -> None:
        """A round of it went well."""
        self.duties[duty].done_at = now
        self.duties[duty].rounds += 1


def area_of(route: object) -> str:
    """The class of a route: which part of the service answers; there is a handful."""
    endpoint = getattr(route, "endpoint", None)
    words = str(getattr(endpoint, "__module__", "")).split(".")
    if words[:2] != ["wherry", "control"]:
        return UNKNOWN
    return words[2] if len(words) > 3 else "service"
