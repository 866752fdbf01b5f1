"""Bandwidth schedules of agents: how much may be sent at a moment of the week, and until when.

A schedule is read from the words of the resource API (`uploadLimitSchedule` of an agent): windows of a day with a limit
in Mbit/s, 0 for a pause; outside of all windows there is none.  Their times are those that a clock in the schedule's
zone shows.  Pure; called by the agent, which keeps the limit, and by the control plane, which shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from wherry.model import local_times
from wherry.model.errors import UsageError
from wherry.model.schedules import DAYS, minute_of_day

BYTES_PER_MEGABIT = 125_000
_DAYS_AHEAD = 9


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of one day of the week, from `begin` to before `end`, with their limit in Mbit/s."""

    day: int
    begin: int
    end: int
    limit: int


@dataclass(frozen=True, slots=True)
class WeekLimits:
    """A schedule that was read; its windows do not overlap."""

    windows: tuple[Window, ...]
    zone: ZoneInfo

    @classmethod
    def read(cls, told: Mapping[str, Any], zone: str) -> WeekLimits:
        """A schedule from the words of the API; `UsageError` for what is none."""
        try:
            windows = [
                Window(
                    DAYS.index(day), minute_of_day(one["startTime"]), minute_of_day(one["endTime"]),
                    int(one["limitInMbps"]),
                )
                for one in told.get("weeklyRecurrences") or ()
                for day in one["days"]
            ]  # fmt: skip
        except (AttributeError, LookupError, TypeError, ValueError):
            raise UsageError("The schedule of bandwidth is malformed.") from None
        return cls(tuple(windows), local_times.zone(zone))

    def at(self, moment: float) -> int | None:
        """The limit at a moment (Unix seconds), in Mbit/s; None for no limit."""
        local = local_times.local(moment, self.zone)
        minute = local.hour * 60 + local.minute
        for one in self.windows:
            if one.day == local.weekday() and one.begin <= minute < one.end:
                return one.limit
        return None

    def changes_after(self, moment: float) -> float | None:
        """When the limit is another one than at `moment`; None for never."""
        now, today = self.at(moment), local_times.local(moment, self.zone).date()
        edges: set[float] = set()
        for ahead in range(_DAYS_AHEAD):
            day = today + timedelta(days=ahead)
            midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a local time
            for one in self.windows:
                if one.day == day.weekday():
                    for minute in (one.begin, one.end):
                        edges.add(local_times.moment(midnight + timedelta(minutes=minute), self.zone))
        return next((one for one in sorted(edges) if one > moment and self.at(one) != now), None)
