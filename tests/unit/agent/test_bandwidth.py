"""The agent's bandwidth schedule: applied when it is told and when time passes, and never lost by nonsense."""

from __future__ import annotations

import math
from typing import Any

import pytest

from wherry.agent.bandwidth import Bandwidth
from wherry.model.schedules import moment

WORK = {"days": ["Monday"], "startTime": {"hour": 8}, "endTime": {"hour": 18}, "limitInMbps": 8}


class Machine:
    """A machine in Berlin, at seven in the morning of a Monday."""

    def __init__(self) -> None:
        self.now = moment("2027-03-01T06:00:00Z")
        self.rates: list[float] = []
        self.bandwidth = Bandwidth(self.rates.append, "Europe/Berlin", lambda: self.now)

    def tell(self, *recurrences: dict[str, Any], zone: str | None = None) -> None:
        self.bandwidth.told({"schedule": {"weeklyRecurrences": list(recurrences)}, "timeZone": zone})


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_it_is_applied_as_time_goes_on(machine: Machine) -> None:
    machine.tell(WORK)
    assert machine.rates == []
    machine.now += 3600
    machine.bandwidth.apply()
    machine.bandwidth.apply()
    assert machine.bandwidth.applied == {"limitInMbps": 8}
    machine.now += 10 * 3600
    machine.bandwidth.apply()
    assert machine.rates == [1_000_000.0, math.inf]
    assert machine.bandwidth.applied == {"limitInMbps": None}


def test_another_one_counts_at_once(machine: Machine) -> None:
    machine.tell(WORK, zone="Europe/Helsinki")
    machine.tell(WORK | {"limitInMbps": 0}, zone="Europe/Helsinki")
    machine.bandwidth.told(None)
    assert machine.rates == [1_000_000.0, 0.0, math.inf]


@pytest.mark.parametrize(
    "nonsense",
    [
        1,
        {},
        {"schedule": []},
        {"schedule": {"weeklyRecurrences": [{}]}},
        {"schedule": {}, "timeZone": "Mars/Base"},
        {"schedule": {}, "timeZone": 1},
    ],
)
def test_nonsense_leaves_the_last_one(machine: Machine, nonsense: Any) -> None:
    machine.tell(WORK, zone="Europe/Helsinki")
    machine.bandwidth.told(nonsense)
    machine.bandwidth.apply()
    assert machine.rates == [1_000_000.0]
