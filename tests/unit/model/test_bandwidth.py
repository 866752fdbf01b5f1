"""Bandwidth schedules: the limit of every moment of a week, and when it changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.model.bandwidth import WeekLimits
from wherry.model.errors import UsageError
from wherry.model.schedules import DAYS, moment, written

WORK = {
    "days": ["Monday", "Tuesday"],
    "startTime": {"hour": 8},
    "endTime": {"hour": 18, "minute": 30},
    "limitInMbps": 50,
}
NIGHT = {"days": ["Monday"], "startTime": {"hour": 22}, "endTime": {"hour": 24}, "limitInMbps": 0}
WEEK = {"weeklyRecurrences": [NIGHT, WORK]}


@pytest.mark.parametrize(
    ("at", "limit", "until"),
    [
        ("2027-03-01T07:59:59Z", None, "2027-03-01T08:00:00Z"),
        ("2027-03-01T08:00:00Z", 50, "2027-03-01T18:30:00Z"),
        ("2027-03-01T18:30:00Z", None, "2027-03-01T22:00:00Z"),
        ("2027-03-01T23:59:59Z", 0, "2027-03-02T00:00:00Z"),
        ("2027-03-02T18:30:00Z", None, "2027-03-08T08:00:00Z"),
    ],
)
def test_a_moment_has_the_limit_of_its_window(at: str, limit: int | None, until: str) -> None:
    week = WeekLimits.read(WEEK, "UTC")
    assert week.at(moment(at)) == limit
    found = week.changes_after(moment(at))
    assert found is not None
    assert written(found) == until


def test_times_are_those_of_the_zone() -> None:
    week = WeekLimits.read(WEEK, "America/New_York")
    assert week.at(moment("2027-03-01T12:59:59Z")) is None
    assert week.at(moment("2027-03-01T13:00:00Z")) == 50


def test_one_limit_for_good_never_changes() -> None:
    always = {"days": list(DAYS), "startTime": {"hour": 0}, "endTime": {"hour": 24}, "limitInMbps": 7}
    week = WeekLimits.read({"weeklyRecurrences": [always]}, "Europe/Berlin")
    assert week.at(0.0) == 7
    assert week.changes_after(moment("2027-03-01")) is None
    assert WeekLimits.read({}, "UTC").changes_after(0.0) is None


@given(
    at=st.integers(int(moment("2027-01-01")), int(moment("2027-12-31"))).map(float),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"]),
    share=st.floats(0, 1),
)
@settings(max_examples=100, deadline=None)
def test_until_it_changes_it_is_the_same(at: float, zone: str, share: float) -> None:
    week = WeekLimits.read(WEEK, zone)
    until = week.changes_after(at)
    assert until is not None
    assert week.at(at + (until - at - 0.01) * share) == week.at(at)
    assert week.at(until) != week.at(at)


@pytest.mark.parametrize(
    "told",
    [
        {"weeklyRecurrences": [WORK | {"days": ["Someday"]}]},
        {"weeklyRecurrences": [{}]},
        {"weeklyRecurrences": 1},
        {"weeklyRecurrences": [WORK | {"limitInMbps": "fast"}]},
        {"weeklyRecurrences": [WORK | {"endTime": {"hour": 25}}]},
        [],
    ],
)
def test_what_is_no_schedule_is_refused(told: Any) -> None:
    with pytest.raises(UsageError):
        WeekLimits.read(told, "UTC")
