"""The agent's bandwidth schedule: what the control plane told last, applied as time goes on.

The answer to each heartbeat names the schedule; what it allows at this moment is worked out here, by this machine's
clock and, where the schedule names no zone, in its zone.  Called by `daemon`: `told` by the thread of heartbeats,
`apply` every second by the one that watches.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Any

from wherry.agent.log_lines import tell
from wherry.model.bandwidth import BYTES_PER_MEGABIT, WeekLimits
from wherry.model.errors import UsageError


class Bandwidth:
    """The limit of one agent.  `govern` takes the bytes a second that its work may send: inf for any, 0 for none."""

    def __init__(self, govern: Callable[[float], None], zone: str, clock: Callable[[], float]) -> None:
        self._govern = govern
        self._zone = zone
        self._clock = clock
        self._lock = threading.Lock()
        self._document: Any = None
        self._limits: WeekLimits | None = None
        self._limit: int | None = None

    def told(self, document: Any) -> None:
        """Take the schedule of a heartbeat's answer, None for none; one that cannot be read leaves the last."""
        if document == self._document:
            return
        self._document = document
        try:
            limits = self._read(document)
        except UsageError as strange:
            tell(logging.ERROR, "bandwidth", f"The schedule of bandwidth is left as it was: {strange}")
            return
        with self._lock:
            self._limits = limits
        self.apply()

    def _read(self, document: Any) -> WeekLimits | None:
        if document is None:
            return None
        if not isinstance(document, dict) or not isinstance(document.get("schedule"), dict):
            raise UsageError("It is malformed.")
        zone = document.get("timeZone") or self._zone
        return WeekLimits.read(document["schedule"], zone if isinstance(zone, str) else "")

    def apply(self) -> None:
        """Let the limit be what the schedule says now."""
        with self._lock:
            limit = None if self._limits is None else self._limits.at(self._clock())
            if limit == self._limit:
                return
            self._limit = limit
            self._govern(math.inf if limit is None else float(limit * BYTES_PER_MEGABIT))
        what = {None: "No limit of bandwidth", 0: "Sending is paused"}.get(
            limit, f"At most {limit} Mbit/s are sent"
        )
        tell(logging.INFO, "bandwidth", f"{what}, by the agent's schedule.")

    @property
    def applied(self) -> dict[str, int | None]:
        """What a heartbeat tells of it."""
        return {"limitInMbps": self._limit}
