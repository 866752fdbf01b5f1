"""Checks that are made to be slow (passwords, signatures of strangers): a few at a time, and few that wait.

Whoever floods a sign-in page fills the queue for nobody but themselves, and everything else goes on: the work is done
on threads of its own.  One a process, in `Plane.hashing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

from wherry.control.refusals import Refusal

T = TypeVar("T")

AT_A_TIME = 2
MOST = 64
"""Checks under way and waiting: a few seconds of them."""

MOST_OF_ONE = 8
RETRY_SECONDS = 5


class Hashing:
    """A bounded queue before the checks."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(AT_A_TIME)
        self._asked: Counter[str] = Counter()

    async def run(self, who: str, check: Callable[[], T]) -> T:
        """What `check` answers.  429 when `who` (an address, a client) or all together have too many waiting."""
        if self._asked[who] >= MOST_OF_ONE or self._asked.total() >= MOST:
            message = "Too many sign-ins at a time: wait a little, then try again."
            raise Refusal(429, "TooManyRequests", message, {"Retry-After": str(RETRY_SECONDS)})
        self._asked[who] += 1
        try:
            return await anyio.to_thread.run_sync(check, limiter=self._limiter)
        finally:
            self._asked[who] -= 1
            self._asked += Counter()
