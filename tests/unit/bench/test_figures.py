from __future__ import annotations

import pytest

from bench.figures import Spread, Verdict, growth, memory, number, rate, ratio, ratios


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)


def test_ratios_are_made_round_by_round() -> None:
    assert ratios([1.0, 2.0, 4.0], [3.0, 5.0, 6.0]) == [3.0, 2.5, 1.5]


def test_a_round_that_one_side_missed_makes_no_ratio() -> None:
    assert ratios([1.0, None, 2.0], [None, 4.0, 6.0]) == [3.0]


def test_rounds_of_different_number_are_no_rounds() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (None, Verdict.UNKNOWN),
        (1.99, Verdict.MISSED),
        (2.0, Verdict.MUST),
        (2.99, Verdict.MUST),
        (3.0, Verdict.AIM),
    ],
)
def test_at_least(figure: float | None, verdict: Verdict) -> None:
    assert ratio("rsync -a", 2, 3).verdict(figure) is verdict


@pytest.mark.parametrize(
    ("figure", "verdict"), [(351, Verdict.MISSED), (350, Verdict.MUST), (200, Verdict.AIM)]
)
def test_at_most(figure: float, verdict: Verdict) -> None:
    assert memory(350, 200).verdict(figure) is verdict


def test_without_an_aim_reaching_is_all() -> None:
    assert growth(1.25).verdict(0.5) is Verdict.MUST


def test_with_an_aim_only_nothing_is_missed() -> None:
    asked = rate("GB", None, 3)

    assert asked.verdict(2.9) is Verdict.SHORT
    assert asked.verdict(3.0) is Verdict.AIM


def test_figures_have_the_digits_that_they_deserve() -> None:
    assert [number(value) for value in (0.123, 12.345, 1234.5)] == ["0.12", "12.3", "1,234"]
