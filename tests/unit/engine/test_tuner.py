"""The number of threads against targets of all moods: what helps is found, what does not is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.engine.tuner import Tuner


def _run(tuner: Tuner, rate: Callable[[int], float], times: int) -> list[int]:
    """The widths with which so many looks were gone on."""
    return [tuner.observe(rate(tuner.width), 0.0) for _ in range(times)]


def test_a_target_that_takes_whatever_comes_gets_all():
    tuner = Tuner(64)
    widths = _run(tuner, lambda width: width * 100.0, 10)
    assert widths[-1] == 64
    assert widths.index(64) < 6


def test_bytes_count_as_items_do():
    tuner = Tuner(64)
    for _ in range(10):
        tuner.observe(0.0, tuner.width * 10_000_000.0)
    assert tuner.width == 64


@pytest.mark.parametrize("best", [1, 2, 4, 8, 20, 32, 50])
def test_what_brings_nothing_more_is_left_again(best):
    tuner = Tuner(64)
    widths = _run(tuner, lambda width: min(width, best) * 100.0, 200)
    settled = widths[-40:]
    # Most of the time near what is worth having, though it looks around from time to time.
    near = [width for width in settled if best / 2 <= width <= max(6, 4 * best)]
    assert len(near) > len(settled) // 2


def test_a_target_that_suffers_from_many_is_spared():
    tuner = Tuner(64)
    widths = _run(tuner, lambda width: 1000.0 / width, 200)
    assert sum(width <= 8 for width in widths) > 150


def test_a_target_that_gets_better_is_found_out():
    tuner = Tuner(64)
    _run(tuner, lambda width: min(width, 4) * 100.0, 100)
    widths = _run(tuner, lambda width: width * 100.0, 400)
    assert widths[-1] == 64


@given(st.integers(1, 256), st.lists(st.floats(0, 1e12), max_size=200))
def test_it_stays_within_its_bounds_whatever_happens(most, rates):
    tuner = Tuner(most)
    assert 1 <= tuner.width <= most
    for rate in rates:
        assert 1 <= tuner.observe(rate, rate) <= most
        assert tuner.width <= most


@pytest.mark.parametrize("most", [1, 2, 3])
def test_few_may_be_the_most(most):
    tuner = Tuner(most)
    assert set(_run(tuner, lambda width: width * 1.0, 50)) <= set(range(1, most + 1))
    assert tuner.width == most


def test_a_moment_in_which_nothing_ended_is_no_reason_to_leave():
    tuner = Tuner(64)
    _run(tuner, lambda _: 0.0, 3)
    assert tuner.width >= 4
