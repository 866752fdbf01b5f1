"""Cron expressions: minute, hour, day of month, month, day of week, as crontab(5) has them.

Lists, ranges, steps and English names of months and days; with both kinds of days limited, either will do.  Pure;
called by `schedules`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from wherry.model.errors import UsageError

_MONTHS = {
    name: at
    for at, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), 1
    )
}
_DAYS = {name: at for at, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_PART = re.compile(r"(?:(\*)|([A-Za-z]{3}|\d{1,2})(?:-([A-Za-z]{3}|\d{1,2}))?)(?:/(\d{1,2}))?")
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that was read.  `minutes` are those of a day, in order; days of week begin with Sunday, 0."""

    minutes: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    @classmethod
    def read(cls, text: str) -> Cron:
        """`UsageError` names the field that cannot be read."""
        words = text.split()
        if len(words) != len(_FIELDS):
            raise UsageError("A cron expression has five fields: minute, hour, day, month, day of week.")
        minutes, hours, days, months, weekdays = (
            _field(word, *field) for word, field in zip(words, _FIELDS, strict=True)
        )
        return cls(
            tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes)),
            days,
            months,
            frozenset(day % 7 for day in weekdays),
            not words[2].startswith("*") and not words[4].startswith("*"),
        )

    def on(self, day: date) -> bool:
        """Whether it comes on that day."""
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either else by_month and by_week


def _field(word: str, what: str, least: int, most: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise UsageError(f"'{part[:20]}' is no {what} of a cron expression.")
        every, first, last, told = match.groups()
        step = int(told or 1)
        low = least if every else _value(first, names)
        high = most if every or (told and not last) else _value(last or first, names)
        if not (least <= low <= high <= most and step):
            raise UsageError(f"'{part}' is no {what} of a cron expression: {least} to {most}, in order.")
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _value(word: str, names: dict[str, int]) -> int:
    return int(word) if word.isdigit() else names.get(word.upper(), -1)
