"""How a copy stands: what is done, what it waits for, and when the end can be told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wherry.cli.copy_live import Observed
from wherry.cli.live import Pace
from wherry.engine.copy import Live
from wherry.model.outcomes import Counters

EMPTY = Live(Counters(), 0, 0, 0.0, 0.0, 0.0, 0.0, threads=2, scanning=True)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("spent", "told"),
    [
        ({"listing": 6.0, "writing": 2.0}, "source (listing), 75%"),
        ({"reading": 6.0, "writing": 2.0}, "source (reading), 75%"),
        ({"writing": 9.0, "computing": 1.0}, "target, 90%"),
        ({"computing": 3.0}, "CPU, 100%"),
        ({}, ""),
    ],
)
def test_what_holds_it_up_is_named(spent: dict[str, float], told: str) -> None:
    clock = Clock()
    observed = Observed(clock=clock)
    # What was long ago does not count.
    assert observed.moment(replace(EMPTY, listing=50.0)).limit == ""
    clock.now = 0.5
    assert observed.moment(replace(EMPTY, listing=100.0)).limit == ""
    for second in (11, 12, 20):
        clock.now = float(second)
        share = (second - 0.5) / 19.5
        now = replace(EMPTY, **{name: value * share for name, value in spent.items()})  # type: ignore[arg-type]
        moment = observed.moment(replace(now, listing=now.listing + 100.0))

    assert moment.limit == told


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ((1100, None), "limit that was set"),
        ((None, 11), "limit that was set"),
        ((2000, 20), "target, 100%"),
        ((None, None), "target, 100%"),
    ],
)
def test_a_limit_that_is_reached_is_named(limits: tuple[int | None, int | None], told: str) -> None:
    clock = Clock()
    observed = Observed((0, 0), *limits, clock)
    observed.moment(EMPTY)
    clock.now = 5.0

    assert observed.moment(replace(EMPTY, items=50, bytes=5000, writing=9.0)).limit == told


def test_done_is_what_the_workers_say_and_the_end_is_known_when_all_is_seen() -> None:
    counters = Counters({"Scanned": 100, "Transferred": 80}, {"Scanned": 5000, "Transferred": 4000})
    observed = Observed()

    running = observed.moment(replace(EMPTY, counters=counters, items=90, bytes=4500))
    seen = observed.moment(replace(EMPTY, counters=counters, items=90, bytes=4500, scanning=False))

    assert (running.settled, running.expected, running.expected_bytes) == ((90, 4500), 0, 0)
    assert (seen.settled, seen.expected, seen.expected_bytes) == ((90, 4500), 100, 5000)


def test_a_manifest_or_an_earlier_report_tells_how_much_will_come() -> None:
    moment = Observed((1000, 5000)).moment(replace(EMPTY, counters=Counters({"Scanned": 10}), items=10))

    assert (moment.expected, moment.expected_bytes) == (1000, 5000)


def test_the_time_left_is_that_of_items_or_of_bytes_whichever_is_longer() -> None:
    observed, pace = Observed(), Pace(0.0, window=10.0)
    counters = Counters({"Scanned": 200}, {"Scanned": 100_000})

    seen = replace(EMPTY, counters=counters, scanning=False)

    def at(now: float, items: int, size: int) -> None:
        pace.note(now, observed.moment(replace(seen, items=items, bytes=size)))

    at(0.0, 0, 0)
    for second in range(1, 11):
        at(float(second), second * 10, second * 1000)

    # 100 items at 10/s are 10 s, 90,000 bytes at 1,000/s are 90 s.
    left = pace.remaining(observed.moment(replace(seen, items=100, bytes=10_000)))
    assert left == pytest.approx((90.0, 90.0))
