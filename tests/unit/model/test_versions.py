"""Versions are three numbers, in the order of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.errors import UsageError
from wherry.model.versions import Version

NUMBERS = st.tuples(*[st.integers(0, 999_999)] * 3)


@given(NUMBERS, NUMBERS)
def test_they_are_ordered_as_numbers_and_read_as_written(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    first, second = Version(*one), Version(*other)
    assert Version.parse(str(first)) == first
    assert (first < second) == (one < other)


def test_ten_comes_after_nine() -> None:
    assert Version.parse("1.10.0") > Version.parse("1.9.9")


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.3.4", "1.2.3rc1", "01.2.3", "1.2.-3", "1.2.3\n", "\u0661.2.3", "../1"]
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="three numbers"):
        Version.parse(text)
