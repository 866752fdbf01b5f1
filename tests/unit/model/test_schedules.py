"""When schedules are due: each kind, each day of the year, and the days on which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.model import local_times
from wherry.model.cron import Cron
from wherry.model.errors import UsageError
from wherry.model.schedules import DAYS, REPEATS, Schedule, moment, written

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia",
    "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Chatham",
)  # fmt: skip
AT_TEN = {"hour": 10, "minute": 30}
BEGIN = "2027-01-01T00:00:00Z"


def schedule(told: dict[str, Any], zone: str = "UTC") -> Schedule:
    made = Schedule.read(told, zone)
    assert made is not None
    return made


def due(told: dict[str, Any], after: str, count: int = 3, zone: str = "UTC") -> list[str]:
    return [written(at) for at in schedule(told, zone).upcoming(moment(after), count)]


def test_each_kind() -> None:
    daily = {"frequency": "Daily", "executionTime": AT_TEN}
    assert due(daily, "2027-01-01T10:29:59Z") == [
        "2027-01-01T10:30:00Z",
        "2027-01-02T10:30:00Z",
        "2027-01-03T10:30:00Z",
    ]
    assert due(daily, "2027-01-01T10:30:00Z", 1) == ["2027-01-02T10:30:00Z"]
    weekly = {"frequency": "Weekly", "executionTime": AT_TEN, "daysOfWeek": ["Sunday", "Monday"]}
    assert due(weekly, BEGIN) == ["2027-01-03T10:30:00Z", "2027-01-04T10:30:00Z", "2027-01-10T10:30:00Z"]
    midnight = {"frequency": "Daily", "executionTime": {"hour": 24}}
    assert due(midnight, BEGIN, 1) == ["2027-01-02T00:00:00Z"]
    expression = {"cronExpression": "15 6-8/2 * jan,MAR mon-fri"}
    assert due(expression, BEGIN) == ["2027-01-01T06:15:00Z", "2027-01-01T08:15:00Z", "2027-01-04T06:15:00Z"]


def test_a_month_that_is_too_short_has_its_days_at_its_end() -> None:
    monthly = {"frequency": "Monthly", "executionTime": {"hour": 1}, "daysOfMonth": [15, 30, 31]}
    assert due(monthly, "2027-02-01T00:00:00Z", 4) == [
        "2027-02-15T01:00:00Z",
        "2027-02-28T01:00:00Z",
        "2027-03-15T01:00:00Z",
        "2027-03-30T01:00:00Z",
    ]


def test_once_is_once() -> None:
    once = {"frequency": "Onetime", "startDate": "2026-05-20T00:00:00.000Z", "executionTime": AT_TEN}
    assert due(once, "2026-01-01T00:00:00Z") == ["2026-05-20T10:30:00Z"]
    assert due(once, "2026-05-20T10:30:00Z") == []
    assert due({"frequency": "Onetime", "startDate": "2026-05-20T07:12:00Z"}, "2026-01-01T00:00:00Z") == [
        "2026-05-20T07:12:00Z"
    ]


def test_between_start_and_end() -> None:
    told = {"frequency": "Daily", "executionTime": AT_TEN, "startDate": "2027-03-01T10:30:00Z"}
    told["endDate"] = "2027-03-02T10:30:00Z"
    assert due(told, BEGIN) == ["2027-03-01T10:30:00Z", "2027-03-02T10:30:00Z"]


def test_hours_are_those_that_pass() -> None:
    told: dict[str, Any] = {
        "frequency": "Hourly",
        "startDate": "2027-03-27T12:00:00Z",
        "repeatInterval": "PT6H",
    }
    expected = ["2027-03-27T18:00:00Z", "2027-03-28T00:00:00Z", "2027-03-28T06:00:00Z"]
    assert due(told, "2027-03-27T12:00:00Z", zone="Europe/Berlin") == expected
    told = {"frequency": "Hourly", "startDate": "2027-03-27T12:30:00Z", "executionTime": {"hour": 14}}
    assert due(told, BEGIN, 2, "Europe/Berlin") == ["2027-03-27T13:00:00Z", "2027-03-28T01:00:00Z"]


def test_a_time_that_is_passed_over_is_the_moment_of_the_change() -> None:
    told = {"frequency": "Daily", "executionTime": {"hour": 2, "minute": 30}}
    assert due(told, "2027-03-27T02:00:00Z", 2, "Europe/Berlin") == [
        "2027-03-28T01:00:00Z",
        "2027-03-29T00:30:00Z",
    ]


def test_a_time_that_comes_twice_is_its_first_coming() -> None:
    told = {"cronExpression": "30 2 * * *"}
    assert due(told, "2027-10-30T12:00:00Z", 2, "Europe/Berlin") == [
        "2027-10-31T00:30:00Z",
        "2027-11-01T01:30:00Z",
    ]


def test_a_day_that_never_was() -> None:
    """Samoa went to the other side of the date line and left out 30 December 2011."""
    told = {"frequency": "Daily", "executionTime": {"hour": 12}}
    found = schedule(told, "Pacific/Apia").upcoming(moment("2011-12-29T00:00:00Z"), 3)
    assert [written(at) for at in found] == [
        "2011-12-29T22:00:00Z",
        "2011-12-30T10:00:00Z",
        "2011-12-30T22:00:00Z",
    ]


moments = st.integers(min_value=int(moment("2020-01-01")), max_value=int(moment("2036-12-31"))).map(float)
zones = st.sampled_from(ZONES)
half_hours = st.integers(0, 47).map(lambda half: {"hour": half // 2, "minute": half % 2 * 30})
repeating = st.one_of(
    st.builds(lambda time: {"frequency": "Daily", "executionTime": time}, half_hours),
    st.builds(
        lambda time, days: {"frequency": "Weekly", "executionTime": time, "daysOfWeek": sorted(days)},
        half_hours,
        st.sets(st.sampled_from(DAYS), min_size=1),
    ),
    st.builds(
        lambda time, days: {"frequency": "Monthly", "executionTime": time, "daysOfMonth": sorted(days)},
        half_hours,
        st.sets(st.integers(1, 31), min_size=1),
    ),
    st.builds(
        lambda hours: {"frequency": "Hourly", "startDate": "2020-01-01", "repeatInterval": str(hours)},
        st.sampled_from(REPEATS),
    ),
    st.builds(
        lambda minute, hour: {"cronExpression": f"{minute} {hour} * * *"}, st.integers(0, 59), st.integers(0, 23)
    ),
    st.sampled_from([{"cronExpression": "*/20 * * * *"}, {"cronExpression": "0 0 29 2 *"}]),
)  # fmt: skip


@given(told=repeating, zone=zones, at=moments, beyond=st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_wherever_one_looks_from_the_moments_are_the_same(
    told: dict[str, Any], zone: str, at: float, beyond: float
) -> None:
    made = schedule(told, zone)
    found = made.upcoming(at, 4)
    assert len(found) == 4
    assert found == sorted({one for one in found if one > at})
    # From anywhere between two of them, the later is what comes next.
    between = found[1] + (found[2] - found[1] - 1) * beyond
    assert made.upcoming(between, 2) == found[2:4]
    assert made.upcoming(found[0] - 0.001, 1) == found[:1]


@given(time=half_hours, zone=zones, at=moments)
@settings(max_examples=150, deadline=None)
def test_a_time_of_day_comes_once_on_each_day(time: dict[str, int], zone: str, at: float) -> None:
    where = local_times.zone(zone)
    found = schedule({"frequency": "Daily", "executionTime": time}, zone).upcoming(at, 30)
    days = [local_times.local(one, where).date() for one in found]
    assert days == [days[0] + timedelta(days=count) for count in range(30)]


@given(zone=zones, at=moments, step=st.integers(0, 86400 * 3))
@settings(max_examples=200, deadline=None)
def test_later_local_times_are_never_earlier_moments(zone: str, at: float, step: int) -> None:
    where = local_times.zone(zone)
    early = local_times.local(at, where).replace(second=0)
    assert local_times.moment(early, where) <= local_times.moment(early + timedelta(seconds=step), where)


def test_cron_days_of_both_kinds() -> None:
    either, both = Cron.read("0 0 13 * 5"), Cron.read("0 0 */2 * 5")
    assert [either.on(datetime(2027, 1, day, tzinfo=UTC)) for day in (13, 15, 16)] == [True, True, False]
    assert [both.on(datetime(2027, 1, day, tzinfo=UTC)) for day in (13, 15, 22)] == [False, True, False]
    assert Cron.read("0 0 * * 7").weekdays == Cron.read("0 0 * * sun").weekdays == {0}
    assert Cron.read("50/5 0 * * *").minutes == (50, 55)


WRONG = [
    ({"frequency": "Daily"}, "needs executionTime"),
    ({"frequency": "Weekly", "executionTime": AT_TEN}, "daysOfWeek"),
    ({"frequency": "Monthly", "executionTime": AT_TEN}, "daysOfMonth"),
    ({"frequency": "Onetime", "executionTime": AT_TEN}, "startDate"),
    ({"frequency": "Hourly"}, "startDate"),
    ({"frequency": "Hourly", "startDate": "2027-01-01", "repeatInterval": "PT5H"}, "repeatInterval"),
    ({"frequency": "Daily", "executionTime": {"hour": 24, "minute": 30}}, "24:00"),
    ({"frequency": "Daily", "cronExpression": "0 0 * * *"}, "not both"),
    ({"frequency": "Daily", "executionTime": AT_TEN, "startDate": "soon"}, "A time is expected"),
    ({"frequency": "Onetime", "startDate": "2027-01-02", "endDate": "2027-01-01"}, "after the startDate"),
    ({"frequency": "Onetime", "startDate": "2027-01-02T12:00:00Z", "executionTime": AT_TEN,
      "endDate": "2027-01-02T13:00:00Z"}, "never comes"),
    ({"cronExpression": "0 0 31 2 *"}, "never comes"),
    *[({"cronExpression": text}, "cron expression") for text in (
        "", "* * * *", "60 * * * *", "* 24 * * *", "5-1 * * * *", "*/0 * * * *", "a * * * *", "* * 0 * *",
        "* * * foo *", "1,, * * * *", "@daily")][1:],
]  # fmt: skip


@pytest.mark.parametrize(("told", "words"), WRONG)
def test_what_makes_no_sense_is_refused(told: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Schedule.read(told)


def test_nothing_asked_for_is_no_schedule() -> None:
    assert Schedule.read({}) is None
    assert Schedule.read({"frequency": "None", "isActive": True, "cronExpression": ""}) is None


@pytest.mark.parametrize(
    "name", ["", "Europe", "../etc/passwd", "/etc/localtime", "Mars/Base", "a" * 65, "é"]
)
def test_zones_that_are_none(name: str) -> None:
    with pytest.raises(UsageError, match="no time zone"):
        local_times.zone(name)


def test_many_moments_of_a_busy_schedule_are_found_at_once() -> None:
    made = schedule({"cronExpression": "* * * * *"}, "Europe/Berlin")
    found = list(islice(made.after(moment("2027-10-31T00:59:30Z")), 2))
    # From three to two o'clock by the clock on the wall: the hour that comes again is passed over.
    assert [written(at) for at in found] == ["2027-10-31T02:00:00Z", "2027-10-31T02:01:00Z"]
