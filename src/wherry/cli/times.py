"""Times of day and days of the week as people give them to commands, in the words of the API."""

from __future__ import annotations

import re

from wherry.model.errors import UsageError
from wherry.model.schedules import DAYS

_SPLIT = re.compile(r"[,\s]+")
_TIME = re.compile(r"([01]?\d|2[0-4]):(00|30)")
_SHORTEST = 3


def time_of_day(told: str, option: str) -> dict[str, int]:
    """`22:30` as a `Time`."""
    found = _TIME.fullmatch(told)
    if found is None:
        raise UsageError(f"'{told}' is no time of day for {option}: give one as 02:00 or 22:30.")
    return {"hour": int(found[1]), "minute": int(found[2])}


def days(told: str, option: str) -> list[str]:
    """`Mon,friday` as days of the week."""
    found = []
    for word in words(told):
        fits = [day for day in DAYS if len(word) >= _SHORTEST and day.lower().startswith(word.lower())]
        if not fits:
            raise UsageError(f"'{word}' is no day of the week for {option}.")
        found.append(fits[0])
    return found


def words(told: str) -> list[str]:
    """What stands between commas and blanks."""
    return [word for word in _SPLIT.split(told) if word]
