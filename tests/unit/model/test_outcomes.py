"""Outcomes, counters and copy logs: what went in comes out, and nothing else does."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.entry import Kind
from wherry.model.errors import CODES
from wherry.model.outcomes import (
    COUNTERS,
    Counters,
    Outcome,
    Row,
    decode_rows,
    encode_rows,
    iso_time,
    segment_name,
)

DETAILS = st.text(st.characters(exclude_categories=["Cs"]))
ROWS = st.builds(
    Row,
    time=st.integers(0, 2**42).map(lambda ms: ms / 1000),
    kind=st.sampled_from(Kind),
    outcome=st.sampled_from(Outcome),
    code=st.sampled_from(sorted(CODES)),
    size=st.integers(0, 2**63),
    path=st.binary(),
    detail=DETAILS,
)


@given(st.lists(ROWS))
def test_a_segment_tells_what_was_written(rows: list[Row]) -> None:
    segment = encode_rows(rows)

    assert list(decode_rows(segment)) == rows
    assert encode_rows(rows) == segment
    assert len(gzip.decompress(segment).splitlines()) == len(rows)


def test_a_hostile_name_stays_in_its_field() -> None:
    row = Row(
        1.0, Kind.FILE, Outcome.FAILED, "AZSM2080", 1, b"a\tb\nc\x1b[2J\r\xe2\x80\xa8", "x\ty\n\x85\u2028"
    )

    line = gzip.decompress(encode_rows([row])).decode()

    assert len(line.splitlines()) == 1
    assert line.count("\t") == 6
    assert list(decode_rows(encode_rows([row]))) == [row]


def test_segments_are_told_apart_by_what_they_hold() -> None:
    one, other = (encode_rows([Row(1.0, Kind.FILE, Outcome.FAILED, "AZSM2080", n, b"x")]) for n in (1, 2))

    assert segment_name("r", 1, 2, 3, one).startswith("r/1/2/3-")
    assert segment_name("r", 1, 2, 3, one) != segment_name("r", 1, 2, 3, other)


@given(st.lists(ROWS), st.lists(st.integers(0, 2**40)))
def test_counters_add_up(rows: list[Row], scanned: list[int]) -> None:
    one, other, whole = Counters(), Counters(), Counters()
    for at, row in enumerate(rows):
        (one if at % 2 else other).row(row)
        whole.row(row)
    for size in scanned:
        one.scanned(size)
        whole.scanned(size)

    one.merge(other)

    assert one == whole
    assert one.settled == sum(row.outcome is not Outcome.DELETED for row in rows)
    assert one.items.get("Scanned", 0) == len(scanned)
    assert Counters.from_json(one.to_json()) == one if max(one.bytes.values(), default=0) < 2**63 else True
    assert set(one.to_json()) <= set(COUNTERS)


@pytest.mark.parametrize(
    "data", [{"Scanned": [-1, 0]}, {"Scanned": [0, -1]}, {"Other": [1, 1]}, {"Scanned": [2**63, 0]}]
)
def test_counters_that_are_none(data: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="not a counter"):
        Counters.from_json(data)


def test_times_are_those_of_the_api() -> None:
    assert iso_time(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"
