"""How often and how long a request is tried, and what is done when its outcome is unknown.

Waits are drawn at random up to a bound that doubles; a server that names a time is obeyed.  A request that
changes something and whose answer was lost may have been carried out: before it is sent again, `settle` looks.
Called by the requests of each adapter for every call.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from wherry.model.errors import Corrupt, Unavailable
from wherry.stores.http.pace import BUSY
from wherry.stores.http.wire import Answer, HungUp, Lost, Unreached

AGAIN = frozenset({408, 429, 500, 502, 503, 504})
# What a request gets that was carried out before and is sent again.
_TOO_LATE = frozenset({404, 409, 412})
# Refusals of Azure and of Amazon that another try may not meet.
_PASSING = frozenset({"ConditionalRequestConflict", "OperationAborted", "RequestTimeout"})
_DAMAGED = frozenset({
    "Md5Mismatch", "Crc64Mismatch", "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
})  # fmt: skip
# A service that is too busy to begin has done nothing.
_REFUSED = "SlowDown"
_LONGEST_RETRY_AFTER = 60.0
_DAMAGED_ATTEMPTS = 3
# Kept connections that servers close are renewed at once and are no attempts, within reason.
_HUNG_UP = 4

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Patience:
    """Limits in attempts and seconds; `sleep` and `draw` (a number in 0..1) for the tests.

    A server that only says that it is busy is waited for longer than one that fails.
    """

    attempts: int = 8
    seconds: float = 120.0
    first_wait: float = 0.25
    longest_wait: float = 16.0
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    busy_attempts: int = 120
    busy_seconds: float = 900.0

    def persist(
        self, send: Callable[[], Answer], settle: Callable[[], _T | None] | None = None
    ) -> Answer | _T:
        """Send until there is an answer that counts; or what `settle` found, when an answer was lost.

        Raises `Unavailable` when there is none within the limits, `Corrupt` when the bytes never arrive whole.
        """
        started = time.monotonic()
        doubtful = busy = False
        attempt = hung_up = 0
        while True:
            asked_for = 0.0
            try:
                answer = send()
                if not (answer.status in AGAIN or answer.code in _PASSING or _is_damaged(answer)):
                    if doubtful and settle and answer.status in _TOO_LATE and (found := settle()) is not None:
                        return found
                    return answer
                busy = answer.status in BUSY
                reason = f"the service answers {answer.status} {answer.code}"
                asked_for = _retry_after(answer)
                doubtful = doubtful or (answer.status >= 500 and answer.code != _REFUSED)
                if _is_damaged(answer) and attempt >= _DAMAGED_ATTEMPTS - 1:
                    raise Corrupt("the service received other bytes than were sent")
                free = False
            except (Lost, Unreached) as error:
                busy = False
                reason = str(error)
                doubtful = doubtful or isinstance(error, Lost)
                free = isinstance(error, HungUp) and hung_up < _HUNG_UP
            if doubtful and settle and (found := settle()) is not None:
                return found
            if free:
                hung_up += 1
                continue
            attempt += 1
            if not self._pauses(attempt, started, asked_for, busy=busy):
                raise Unavailable(f"{reason.strip()}, after {attempt} attempts", asked_for or None)

    def _pauses(self, attempt: int, started: float, asked_for: float, *, busy: bool) -> bool:
        """Wait before the next attempt; False when there is to be none."""
        wait = max(asked_for, self.draw() * min(self.longest_wait, self.first_wait * 2 ** (attempt - 1)))
        attempts, seconds = (self.busy_attempts, self.busy_seconds) if busy else (self.attempts, self.seconds)
        if attempt >= attempts or time.monotonic() - started + wait > seconds:
            return False
        self.sleep(wait)
        return True


def after(first: Answer | Exception, send: Callable[[], Answer]) -> Callable[[], Answer]:
    """A `send` for `persist` whose first attempt was made already, with this outcome."""
    outcomes = [first]

    def outcome() -> Answer:
        if not outcomes:
            return send()
        known = outcomes.pop()
        if isinstance(known, Exception):
            raise known
        return known

    return outcome


def _is_damaged(answer: Answer) -> bool:
    """Whether the service found other bytes than were sent: they were damaged on the way."""
    return answer.status == 400 and answer.code in _DAMAGED


def _retry_after(answer: Answer) -> float:
    """How many seconds the server wants to be left alone; 0 when it does not say."""
    try:
        seconds = float(answer.headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
