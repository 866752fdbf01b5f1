"""Time zones: from what a clock on a wall shows to the moment that is meant, for every day of the year.

A local time that comes twice, when clocks are put back, is its first coming; one that is passed over, when clocks are
put on, is the moment at which they are.  So each local time is one moment, and later ones are never earlier moments.
Called by `schedules` and `limits`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from wherry.model.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_SECOND = timedelta(seconds=1)


def zone(name: str) -> ZoneInfo:
    """The zone of that name, as `Europe/Berlin`; `UsageError` for one that this machine does not know."""
    if len(name) <= 64 and _NAME.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (LookupError, OSError, ValueError):
            pass
    raise UsageError(f"'{name[:64]}' is no time zone that is known here; give one as Europe/Berlin or UTC.")


@lru_cache(maxsize=4096)
def moment(local: datetime, where: ZoneInfo) -> float:
    """The moment, in Unix seconds, of a local time without a zone."""
    first = local.replace(tzinfo=where).astimezone(UTC)
    if first.astimezone(where).replace(tzinfo=None) == local:
        return first.timestamp()
    # The offset after the change leads to a moment before it, and the one before to a moment after.
    low, high = local.replace(tzinfo=where, fold=1).astimezone(UTC), first
    before = low.astimezone(where).utcoffset()
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        if middle.astimezone(where).utcoffset() == before:
            low = middle
        else:
            high = middle
    return float(round(high.timestamp()))


def local(at: float, where: ZoneInfo) -> datetime:
    """What a clock there shows at a moment, without its zone."""
    return datetime.fromtimestamp(at, UTC).astimezone(where).replace(tzinfo=None)
