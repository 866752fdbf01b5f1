"""`wherry job schedule set`: what it sends, and what it does not take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from wherry.cli import job_schedule, times
from wherry.model.errors import UsageError
from wherry.model.schedules import Schedule

_START = ("--start", "2027-01-01T00:00:00Z")


class Plane:
    """A control plane that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.at = SimpleNamespace(job=lambda name: f"/{name}")
        self.api = SimpleNamespace(patch=self._patch)

    def _patch(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(body["properties"])
        told = {word: value for word, value in body["properties"]["schedule"].items() if value is not None}
        return {"name": "j", "properties": {"schedule": told}}


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Plane:
    made = Plane()

    @contextmanager
    def session(*_: object) -> Iterator[Plane]:
        yield made

    monkeypatch.setattr(job_schedule, "session", session)
    return made


def set_(*arguments: str) -> Exception | None:
    result = CliRunner().invoke(job_schedule.app, ["set", "--name", "j", *arguments])
    return result.exception if isinstance(result.exception, UsageError) else None


@pytest.mark.parametrize(
    ("arguments", "schedule"),
    [
        (("--daily", "--at", "02:00"), {"frequency": "Daily", "executionTime": {"hour": 2, "minute": 0}}),
        (
            ("--hourly", "6", *_START),
            {"frequency": "Hourly", "startDate": _START[1], "repeatInterval": "PT6H"},
        ),
        (
            ("--weekly", "mon, FRIDAY", "--at", "22:30"),
            {
                "frequency": "Weekly",
                "executionTime": {"hour": 22, "minute": 30},
                "daysOfWeek": ["Monday", "Friday"],
            },
        ),
        (
            ("--monthly", "1,15", "--at", "24:00"),
            {"frequency": "Monthly", "executionTime": {"hour": 24, "minute": 0}, "daysOfMonth": [1, 15]},
        ),
        (("--cron", "30 2 * * mon-fri"), {"cronExpression": "30 2 * * mon-fri"}),
        (("--once", *_START), {"frequency": "Onetime", "startDate": _START[1]}),
    ],
)
def test_each_kind_is_told_in_the_words_of_the_api(
    plane: Plane, arguments: tuple[str, ...], schedule: dict[str, Any]
) -> None:
    assert set_(*arguments) is None
    (told,) = plane.sent
    given = {word: value for word, value in told["schedule"].items() if value is not None}
    assert given == schedule
    assert Schedule.read(given) is not None
    # Nothing of an earlier schedule is left, but whether it is enabled.
    assert set(told["schedule"]) | {"isActive"} >= {"endDate", "daysOfWeek", "daysOfMonth", "cronExpression"}


def test_what_stands_beside_it(plane: Plane) -> None:
    set_("--daily", "--at", "1:00", "--time-zone", "Asia/Tokyo", "--on-overlap", "skip")
    assert plane.sent[0]["wherry"] == {"timeZone": "Asia/Tokyo", "onOverlap": "skip"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give one of"),
        (("--daily", "--once"), "Give one of"),
        (("--daily", "--at", "2:15"), "time of day"),
        (("--weekly", "someday"), "day of the week"),
        (("--weekly", "mo"), "day of the week"),
        (("--monthly", "1,x"), "days of the month"),
    ],
)
def test_what_it_does_not_take(plane: Plane, arguments: tuple[str, ...], words: str) -> None:
    refused = set_(*arguments)
    assert refused is not None
    assert words in str(refused)
    assert plane.sent == []


def test_the_last_time_of_a_day() -> None:
    assert times.time_of_day("24:00", "--to") == {"hour": 24, "minute": 0}
    with pytest.raises(UsageError):
        times.time_of_day("25:00", "--to")
