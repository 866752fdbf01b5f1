"""Schedules of jobs: at which moments one is due.

A schedule is read from the words of the resource API (`schedule` of a job definition, with a time zone beside it) and
says what comes next; it knows neither what has been done nor what time it is.  Local times are those of its zone
(`local_times`), so that a day of changed clocks has each of them once; an hourly schedule counts hours that pass.
Pure; called by the control plane's schedules and by the checks of job definitions.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from wherry.model import local_times
from wherry.model.cron import Cron
from wherry.model.errors import UsageError

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
REPEATS = (1, 2, 3, 4, 6, 8, 12)
"""How many hours there may be from one firing of an hourly schedule to the next."""

_HOURS = re.compile(r"(?:PT)?(\d{1,2})H?", re.IGNORECASE)

_REPEAT = 12
# No day of a calendar is further away than this many days: 29 February around 2100.
_HORIZON = 366 * 9


class Frequency(StrEnum):
    """How often a schedule comes, in the words of the API; a cron expression goes without."""

    NONE = "None"
    ONETIME = "Onetime"
    HOURLY = "Hourly"
    DAILY = "Daily"
    WEEKLY = "Weekly"
    MONTHLY = "Monthly"


class Overlap(StrEnum):
    """What becomes of a firing while the run before still goes on."""

    WAIT = "wait"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that was read.

    `minute` is that of the day, up to 1440; nothing comes before `start` or after `end`.
    """

    frequency: Frequency
    zone: ZoneInfo
    start: float = 0.0
    end: float | None = None
    minute: int | None = None
    weekdays: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    hours: int = _REPEAT
    cron: Cron | None = None

    @classmethod
    def read(cls, told: Mapping[str, Any], zone: str = "UTC") -> Schedule | None:
        """A schedule from the words of the API; None for one that asks for nothing.

        Values are of the right types already; `UsageError` says what does not go together.
        """
        frequency = Frequency(told.get("frequency", Frequency.NONE))
        cron = told.get("cronExpression")
        if frequency is Frequency.NONE and not cron:
            return None
        if cron and frequency is not Frequency.NONE:
            raise UsageError("Give either a frequency or a cronExpression, not both.")
        execution = told.get("executionTime")
        made = cls(
            frequency,
            local_times.zone(zone),
            moment(told["startDate"]) if told.get("startDate") else 0.0,
            moment(told["endDate"]) if told.get("endDate") else None,
            None if execution is None else minute_of_day(execution),
            frozenset(DAYS.index(day) for day in told.get("daysOfWeek") or ()),
            frozenset(told.get("daysOfMonth") or ()),
            hours(told["repeatInterval"]) if told.get("repeatInterval") else _REPEAT,
            Cron.read(cron) if cron else None,
        )
        made._check()
        return made

    def _check(self) -> None:
        wanted = {
            Frequency.ONETIME: (self.start, "startDate"),
            Frequency.HOURLY: (self.start, "startDate"),
            Frequency.DAILY: (self.minute is not None, "executionTime"),
            Frequency.WEEKLY: (self.minute is not None and self.weekdays, "executionTime and daysOfWeek"),
            Frequency.MONTHLY: (self.minute is not None and self.days, "executionTime and daysOfMonth"),
        }
        given, names = wanted.get(self.frequency, (True, ""))
        if not given:
            raise UsageError(f"The frequency {self.frequency} needs {names}.")
        if self.end is not None and self.end <= self.start:
            raise UsageError("The endDate must be after the startDate.")
        if next(self.after(0.0), None) is None:
            raise UsageError("This schedule never comes: no day or time of it lies between start and end.")

    def after(self, at: float) -> Iterator[float]:
        """The moments, in Unix seconds, at which it is due after `at`, in order; each once."""
        for due in self._all(at):
            if self.end is not None and due > self.end:
                return
            yield due

    def upcoming(self, at: float, count: int) -> list[float]:
        """The first few of them."""
        return list(islice(self.after(at), count))

    def _all(self, at: float) -> Iterator[float]:
        if self.frequency is Frequency.HOURLY:
            yield from self._hourly(at)
        elif self.frequency is Frequency.ONETIME:
            if (only := self._first()) > at:
                yield only
        else:
            yield from self._daily(at)

    def _first(self) -> float:
        """The first time of day at or after the start, or the start itself where no time of day is told."""
        return self.start if self.minute is None else next(self._daily(0.0))

    def _hourly(self, at: float) -> Iterator[float]:
        first, step = self._first(), self.hours * 3600
        due = first if at < first else first + ((at - first) // step + 1) * step
        while True:
            yield due
            due += step

    def _daily(self, at: float) -> Iterator[float]:
        # Moments are whole seconds: what is due at the start itself counts.
        last = max(at, self.start - 0.5)
        # A clock that was put back may show yesterday again.
        day = local_times.local(last, self.zone).date() - timedelta(days=1)
        idle = 0
        while idle < _HORIZON and day.year < 9000:
            for due in self._on(day, last):
                yield due
                last, idle = due, 0
            day += timedelta(days=1)
            idle += 1

    def _on(self, day: date, last: float) -> Iterator[float]:
        """What is due by the local times of a day, after `last`."""
        minutes = self._minutes(day)
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a local time

        def due(minute: int) -> float:
            return local_times.moment(midnight + timedelta(minutes=minute), self.zone)

        for minute in minutes[bisect_right(minutes, last, key=due) :]:
            if (found := due(minute)) > last:
                yield found
                last = found

    def _minutes(self, day: date) -> tuple[int, ...]:
        if self.cron is not None:
            return self.cron.minutes if self.cron.on(day) else ()
        if self.frequency is Frequency.WEEKLY and day.weekday() not in self.weekdays:
            return ()
        if self.frequency is Frequency.MONTHLY and not self._in_month(day):
            return ()
        return () if self.minute is None else (self.minute,)

    def _in_month(self, day: date) -> bool:
        """A month that is too short has the days that it lacks at its end."""
        last = calendar.monthrange(day.year, day.month)[1]
        return day.day in self.days or (day.day == last and any(one > last for one in self.days))


def minute_of_day(told: Mapping[str, Any]) -> int:
    """The minute of a `Time` of the API; `UsageError` for one after 24:00."""
    minute = int(told["hour"]) * 60 + int(told.get("minute") or 0)
    if minute > 24 * 60:
        raise UsageError("The last time of a day is 24:00.")
    return minute


def hours(text: str) -> int:
    """The hours of a `repeatInterval`, as `PT6H` or `6`."""
    found = _HOURS.fullmatch(text)
    if found is None or int(found[1]) not in REPEATS:
        raise UsageError(f"A repeatInterval is PT1H, or so many hours: {', '.join(map(str, REPEATS))}.")
    return int(found[1])


def moment(text: str) -> float:
    """A date-time of the API in Unix seconds, without fractions; UTC where it names no zone."""
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        if not 1970 < found.year < 9000:
            raise ValueError
    except ValueError:
        raise UsageError("A time is expected, such as 2027-05-20T00:00:00Z.") from None
    return float(int(found.timestamp()))


def written(at: float) -> str:
    """The inverse of `moment`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
