"""Statistics of runs, and whether they reach what is asked: pure functions on numbers.

Ratios are made round by round, theirs to ours of the same round, and their median counts: drift of the machine meets
both. A round in which one of the two is missing makes none.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

MIB = 1024 * 1024


@dataclass(frozen=True)
class Spread:
    """The median and the extremes of some runs."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


class Verdict(StrEnum):
    """How a figure stands to what is asked."""

    AIM = "aim reached"
    MUST = "reached"
    MISSED = "missed"
    SHORT = "below the aim"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Asked:
    """What is asked of one figure: `must`, and what is aimed at. `against` names the peer of a ratio."""

    what: str
    must: float | None
    aim: float | None = None
    against: str = ""
    unit: str = ""
    at_most: bool = False

    @property
    def name(self) -> str:
        return f"times as quick as {self.against}" if self.against else self.what

    def verdict(self, figure: float | None) -> Verdict:
        if figure is None:
            return Verdict.UNKNOWN
        if self.aim is not None and self._reaches(figure, self.aim):
            return Verdict.AIM
        if self.must is None:
            return Verdict.SHORT
        return Verdict.MUST if self._reaches(figure, self.must) else Verdict.MISSED

    def _reaches(self, figure: float, bound: float) -> bool:
        return figure <= bound if self.at_most else figure >= bound


def ratio(against: str, must: float, aim: float | None = None) -> Asked:
    """At least so many times as quick as a peer."""
    return Asked("ratio", must, aim, against=against)


def rate(unit: str, must: float | None, aim: float | None = None) -> Asked:
    """At least so many of a unit in a second."""
    return Asked(f"{unit}/s", must, aim, unit=unit)


def memory(must: float, aim: float | None = None) -> Asked:
    """At most so many MiB over all processes."""
    return Asked("MiB at the peak", must, aim, unit="MiB", at_most=True)


def growth(must: float) -> Asked:
    """Memory with ten times the items is at most so many times what it is with the items."""
    return Asked("times the memory at ten times the items", must, unit="growth", at_most=True)


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float]:
    """Their time by ours, for each round that has both."""
    return [other / own for own, other in zip(ours, theirs, strict=True) if own and other]


def number(value: float) -> str:
    """A figure with as many digits as it deserves."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
