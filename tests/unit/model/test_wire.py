"""The shapes of the agent protocol: each survives JSON, and what is malformed is refused and never a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.model.test_options import OPTIONS
from wherry.model import wire
from wherry.model.entry import Kind
from wherry.model.errors import UsageError
from wherry.model.ledger import Commit, Phase, Slice, Span, Token, WorkItem
from wherry.model.outcomes import COUNTERS, Counters
from wherry.model.wire import Grant, Place, Progress, Renewal, RunOrder, SegmentName, Sighting

BYTES = st.binary(max_size=20)
COUNTS = st.integers(0, 2**62)
WORKS = st.one_of(
    st.builds(Span, BYTES, st.none() | BYTES, st.none() | BYTES, st.none() | BYTES),
    st.builds(Slice, st.sampled_from(Phase), BYTES, BYTES),
)
ITEMS = st.builds(
    WorkItem, st.sampled_from(Phase), BYTES, BYTES, st.booleans(), st.text(), COUNTS,
    st.sampled_from([kind.value for kind in Kind]),
)  # fmt: skip
TOKENS = st.builds(Token, st.text(), COUNTS, COUNTS, st.text())
PLACES = st.builds(Place, st.text(), st.text(), BYTES)
ORDERS = st.builds(RunOrder, st.text(), PLACES, PLACES, OPTIONS)
SIGHTINGS = st.builds(Sighting, st.text(), st.text(), COUNTS, st.text())
GRANTS = st.builds(
    Grant,
    TOKENS,
    ORDERS,
    WORKS,
    st.floats(0, 1e6),
    st.booleans(),
    st.booleans(),
    COUNTS,
    st.sampled_from(Phase),
)
COUNTERS_MADE = st.dictionaries(st.sampled_from(COUNTERS), st.tuples(COUNTS, COUNTS)).map(
    lambda told: Counters.from_json({name: list(pair) for name, pair in told.items()})
)
PROGRESS = st.builds(
    Progress,
    st.builds(Commit, COUNTS, st.none() | WORKS, st.lists(WORKS, max_size=3).map(tuple)),
    COUNTERS_MADE,
    st.lists(st.builds(SegmentName, st.text(), COUNTS), max_size=2).map(tuple),
    st.lists(ITEMS, max_size=3).map(tuple),
)
RENEWALS = st.builds(Renewal, st.floats(0, 1e6), st.booleans(), st.booleans())

SHAPES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "work": (WORKS, wire.work_to_json, wire.work_from_json),
    "item": (ITEMS, wire.item_to_json, wire.item_from_json),
    "token": (TOKENS, wire.token_to_json, wire.token_from_json),
    "place": (PLACES, Place.to_json, Place.from_json),
    "order": (ORDERS, RunOrder.to_json, RunOrder.from_json),
    "sighting": (SIGHTINGS, Sighting.to_json, Sighting.from_json),
    "grant": (GRANTS, Grant.to_json, Grant.from_json),
    "progress": (PROGRESS, Progress.to_json, Progress.from_json),
    "renewal": (RENEWALS, Renewal.to_json, Renewal.from_json),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_a_shape_survives_json(shape: str, data: st.DataObject) -> None:
    strategy, to_json, from_json = SHAPES[shape]
    value = data.draw(strategy)

    told = json.loads(json.dumps(to_json(value)))

    assert from_json(told) == value


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_a_newer_side_may_tell_more(shape: str, data: st.DataObject) -> None:
    strategy, to_json, from_json = SHAPES[shape]
    value = data.draw(strategy)

    assert from_json({**to_json(value), "of a later version": [1]}) == value


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_what_is_malformed_is_refused_and_never_a_crash(shape: str, data: st.DataObject) -> None:
    """Any JSON at all, or a sound value of which one field was exchanged or left out."""
    strategy, to_json, from_json = SHAPES[shape]
    told = dict(to_json(data.draw(strategy)))
    field = data.draw(st.sampled_from(sorted(told)))
    if data.draw(st.booleans()):
        told[field] = data.draw(JSON)
    else:
        del told[field]

    for one in (told, data.draw(JSON)):
        try:
            from_json(one)
        except UsageError:
            continue


def test_a_part_without_its_folder_is_not_the_whole_tree() -> None:
    with pytest.raises(UsageError):
        wire.work_from_json({})
    with pytest.raises(UsageError):
        wire.work_from_json({"start": "YQ"})
    assert wire.work_from_json(None) is None


@given(st.binary())
def test_bytes_survive(data: bytes) -> None:
    packed = wire.pack(data)

    assert packed is not None
    assert "=" not in packed
    assert wire.unpack(packed) == data


@pytest.mark.parametrize("text", ["a", "YQ==", "Y Q", "Y+Q/", "\u00e9", "YQ\n", "!!!!"])
def test_what_is_not_base64url_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        wire.unpack(text)


def test_nothing_is_nothing() -> None:
    assert wire.pack(None) is None
    assert wire.unpack(None) is None
