"""Folders of any width in the order of names: what a plain sorted list would say, in pieces and from files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.engine import listing as listings
from wherry.engine.listing import Lister, Listing, packed
from wherry.model.entry import Entry, Kind
from wherry.model.errors import NotFound, StoreError
from wherry.model.names import NameRules
from wherry.model.plan import Holds
from wherry.stores.port import Store, Traits

QUICK = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = st.binary(min_size=1, max_size=3).filter(lambda name: b"/" not in name and b"\0" not in name)
BOUNDS = st.none() | NAMES


class _Listed:
    """A store with one folder that lists its entries as they are given."""

    def __init__(self, entries: Iterable[Entry], order: str = "none") -> None:
        self.entries = list(entries)
        self.traits = Traits(Holds(NameRules()), order=order)  # type: ignore[arg-type]

    def list(self, folder: bytes) -> Iterator[Entry]:
        if folder:
            raise NotFound("no such folder")
        return iter(self.entries)


class _Named(_Listed):
    """One that lists names apart; what is `gone` was removed between."""

    def __init__(self, entries: Iterable[Entry], gone: Iterable[bytes] = ()) -> None:
        super().__init__(entries)
        self.gone = set(gone)
        self.looks: list[int] = []

    def names(self, folder: bytes) -> Iterator[bytes]:
        return (entry.name for entry in self.list(folder))

    def look(self, folder: bytes, names: Sequence[bytes]) -> list[Entry | None]:
        self.looks.append(len(names))
        known = {entry.name: entry for entry in self.entries}
        return [None if name in self.gone else known[name] for name in names]


def _entries(names: Iterable[bytes]) -> list[Entry]:
    return [Entry(name, Kind.FILE, number) for number, name in enumerate(names)]


def _open(store: _Listed, low: bytes | None = None, high: bytes | None = None) -> Listing:
    return Lister(cast("Store", store), lambda: None)(b"", low, high)


def _store(kind: str, names: list[bytes]) -> _Listed:
    if kind == "names":
        return _Named(_entries(names))
    return _Listed(_entries(sorted(names) if kind == "bytes" else names), order=kind)


KINDS = st.sampled_from(["names", "bytes", "none"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("peek"), st.integers(0, 9)),
        st.tuples(st.just("take"), st.integers(0, 9)),
        st.tuples(st.just("take wanted"), st.integers(0, 9), st.sets(NAMES, max_size=5)),
        st.tuples(st.just("ahead")),
        st.tuples(st.just("stop"), NAMES),
    ),
    max_size=12,
)


@QUICK
@given(KINDS, st.lists(NAMES, unique=True, max_size=40), BOUNDS, BOUNDS, st.integers(1, 50), STEPS)
def test_it_is_a_sorted_list_whatever_is_done_with_it(kind, names, low, high, spill, steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listings, "SPILL", spill)
        patch.setattr(listings, "_TELL_EVERY", 3)
        patch.setattr(listings, "_SAMPLE", 7)
        left = sorted(
            name for name in names if (low is None or name >= low) and (high is None or name < high)
        )
        listed = _open(_store(kind, names), low, high)
        for step, *told in steps:
            if step == "peek":
                assert listed.peek(told[0]) == left[: told[0]]
            elif step == "take":
                assert [entry.name for entry in listed.take(told[0])] == left[: told[0]]
                left = left[told[0] :]
            elif step == "take wanted":
                wanted = told[1] | set(left[::2])
                taken = listed.take(told[0], wanted)
                assert [entry.name for entry in taken] == [n for n in left[: told[0]] if n in wanted]
                left = left[told[0] :]
            elif step == "ahead":
                _check_ahead(listed.ahead(), left)
            elif not left or told[0] > left[0]:
                listed.stop_at(told[0])
                left = left[: bisect_left(left, told[0])]
            # Of a listing that comes bit by bit, only what has come is known.
            assert listed.left() == len(left) if kind == "names" else listed.left() <= len(left)
        assert [entry.name for entry in listed.take(len(left) + 1)] == left
        assert listed.peek(5) == []
        assert listed.take(5) == []
        assert listed.ahead() == []


def _check_ahead(ahead: list[bytes], left: list[bytes]) -> None:
    """Some of what is left in its order, the next one and, of few, all."""
    assert ahead == sorted(set(ahead))
    assert set(ahead) <= set(left)
    assert ahead[:1] == left[:1]
    if len(left) <= 7:
        assert ahead == left


@QUICK
@given(st.sampled_from(["bytes", "none"]), st.lists(NAMES, max_size=30), st.integers(1, 9))
def test_twins_follow_one_another(kind, names, spill):
    entries = [Entry(name, folder) for name in names for folder in (Kind.FILE, Kind.FOLDER) if hash(name) % 2]
    entries = list(dict.fromkeys(entries))
    ordered = sorted(entries, key=lambda entry: entry.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listings, "SPILL", spill)
        listed = _open(_Listed(ordered if kind == "bytes" else entries[::-1], order=kind))
        found = listed.take(len(entries))
    assert [entry.name for entry in found] == [entry.name for entry in ordered]
    assert set(found) == set(entries)


@QUICK
@given(st.lists(NAMES, max_size=60), st.integers(1, 20), st.slices(60), NAMES)
def test_packed_names_are_a_sequence_like_any_other(names, spill, cut, sought):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listings, "SPILL", spill)
        patch.setattr(listings, "_TELL_EVERY", 4)
        found = packed(iter(names))
    expected = sorted(names)
    assert len(found) == len(expected)
    assert list(found) == expected
    assert list(found[cut]) == expected[cut]
    assert [found[at] for at in range(len(expected))] == expected
    assert bisect_left(found, sought) == bisect_left(expected, sought)
    with pytest.raises(IndexError):
        found[len(expected)]


def test_names_beyond_the_limit_are_not_in_memory(monkeypatch):
    monkeypatch.setattr(listings, "SPILL", 10)
    assert isinstance(packed(b"%02d" % n for n in range(9)), list)
    for count in (10, 11, 35):
        found = packed(b"%02d" % n for n in range(count))
        assert not isinstance(found, list)
        assert list(found) == [b"%02d" % n for n in range(count)]


def test_entries_are_looked_at_when_their_turn_comes(monkeypatch):
    store = _Named(_entries(b"%03d" % n for n in range(100)), gone=[b"001"])
    listed = _open(store)
    assert len(listed.peek(50)) == 50
    assert store.looks == []
    assert [entry.name for entry in listed.take(3)] == [b"000", b"002"]
    assert [entry.name for entry in listed.take(10, {b"005", b"050"})] == [b"005"]
    assert store.looks == [3, 1]


@pytest.mark.parametrize("kind", [_Named, _Listed])
def test_a_folder_that_is_not_there_is_told_at_once(kind):
    with pytest.raises(NotFound):
        Lister(cast("Store", kind([])), lambda: None)(b"folder", None, None)


def test_a_listing_out_of_the_promised_order_is_refused():
    listed = _open(_Listed(_entries([b"a", b"c", b"b"]), order="bytes"))
    assert listed.peek(2) == [b"a", b"c"]
    with pytest.raises(StoreError, match="order"):
        listed.peek(3)


class _BreakingOff(_Listed):
    """A listing that breaks off in the middle."""

    def list(self, folder: bytes) -> Iterator[Entry]:
        yield from super().list(folder)
        raise StoreError("it broke off")


def test_a_listing_that_breaks_off_never_looks_like_one_that_has_ended(monkeypatch):
    """What only the target has is deleted: half a listing of the source must not pass for all of it."""
    monkeypatch.setattr(listings, "_TELL_EVERY", 1)
    listed = _open(_BreakingOff(_entries([b"a", b"b", b"c"]), order="bytes"))
    assert listed.peek(3) == [b"a", b"b", b"c"]
    for _ in range(2):
        for ask in (lambda: listed.peek(4), lambda: listed.take(4), listed.ahead):
            with pytest.raises(StoreError, match="broke off"):
                ask()


def test_a_listing_that_has_to_be_sorted_is_whole_before_it_begins():
    with pytest.raises(StoreError, match="broke off"):
        _open(_BreakingOff(_entries([b"a", b"b", b"c"])))


@pytest.mark.parametrize("store", [_Named, _Listed])
def test_a_long_way_is_told_on(store, monkeypatch):
    monkeypatch.setattr(listings, "_TELL_EVERY", 10)
    told = []
    lister = Lister(cast("Store", store(_entries(b"%03d" % n for n in range(95)))), lambda: told.append(1))
    listed = lister(b"", b"090", None)
    assert listed.peek(100) == [b"%03d" % n for n in range(90, 95)]
    assert len(told) == 10
