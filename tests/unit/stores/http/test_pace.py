"""A server that refuses is asked more slowly, and as fast as before when it has recovered."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from wherry.stores.http.pace import Pace


@dataclass
class Clock:
    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(clock, clock.sleep)


def rate(pace: Pace, clock: Clock, requests: int = 50) -> float:
    """Requests a second that the pace lets through."""
    begun = clock.now
    for _ in range(requests):
        pace.wait()
    return requests / max(clock.now - begun, 1e-9)


def test_without_refusals_nobody_waits(pace: Pace, clock: Clock) -> None:
    rate(pace, clock)
    pace.served()
    assert clock.slept == []


def test_refusals_in_a_row_slow_down_again_and_again_to_a_limit(pace: Pace, clock: Clock) -> None:
    rates = []
    for _ in range(12):
        pace.refused()
        rates.append(rate(pace, clock, 20))
        clock.now += 1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.5, rel=0.1)


def test_refusals_that_come_together_count_once(pace: Pace, clock: Clock) -> None:
    pace.refused()
    once = rate(pace, clock)
    other = Pace(clock, clock.sleep)
    for _ in range(30):
        other.refused()
    assert rate(other, clock) == pytest.approx(once, rel=0.05)


def test_the_full_rate_is_back_within_a_minute(pace: Pace, clock: Clock) -> None:
    for _ in range(30):
        pace.refused()
        clock.now += 1
    begun = clock.now
    while pace.slow:
        pace.wait()
        clock.now += 0.01
        pace.served()
    assert clock.now - begun < 60
