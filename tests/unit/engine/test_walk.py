"""The walk over random trees: each pair once, in order, wherever it begins, breaks off or is given away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.engine.stage import Passing, fresh_places, order_of, work_off
from tests.unit.model.trees import NAMES, TREES
from wherry.engine import chapter, chapters, listing, span
from wherry.engine import level as levels
from wherry.engine import walk as walks
from wherry.engine.ledger import LocalLedger
from wherry.engine.level import SourceUnlisted, TargetUnlisted
from wherry.engine.pool import Pool
from wherry.engine.walk import Walk
from wherry.model import ledger, names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import NotFound, RunError, Unavailable
from wherry.model.ledger import Commit, Part, Partition, Phase, Span
from wherry.model.options import CopyMode, JobOptions
from wherry.model.outcomes import Outcome
from wherry.model.plan import Holds
from wherry.model.wire import Renewal
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Store, Traits

ROUNDS = settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class _Tree:
    """A store of these paths; a path with others below it is a folder."""

    def __init__(self, paths: Iterable[bytes], order: str) -> None:
        self.inside: dict[bytes, list[bytes]] = {b"": []}
        for path in paths:
            self.inside.setdefault(names.parent(path), []).append(names.basename(path))
        self.traits = Traits(Holds(names.NameRules()), order="bytes" if order == "bytes" else "none")

    def list(self, folder: bytes) -> Iterator[Entry]:
        if folder not in self.inside:
            raise NotFound("no such folder")
        found = self.inside[folder]
        ordered = sorted(found) if self.traits.order == "bytes" else found[::-1]
        return iter([self._entry(folder, name) for name in ordered])

    def _entry(self, folder: bytes, name: bytes) -> Entry:
        return Entry(name, Kind.FOLDER if names.join(folder, name) in self.inside else Kind.FILE)


class NamedTree(_Tree):
    """One that lists names apart."""

    def names(self, folder: bytes) -> Iterator[bytes]:
        return (entry.name for entry in self.list(folder))

    def look(self, folder: bytes, found: Sequence[bytes]) -> list[Entry | None]:
        return [self._entry(folder, name) for name in found]


def _tree(paths: Iterable[bytes], kind: str) -> Store:
    made = NamedTree(paths, kind) if kind == "names" else _Tree(paths, kind)
    return cast("Store", made)


class Seen(NamedTuple):
    """A pair of one path."""

    path: bytes
    source: Kind | None
    target: Kind | None


class Walker:
    """Walks a span as the engine does, one stretch at a time, into each folder of either side."""

    def __init__(
        self, stores: tuple[Store, Store], of: Span, all_of_target: bool = True, most: int = 3
    ) -> None:
        self.span = of
        self.walk = Walk(*stores, of, lambda: None, all_of_target=all_of_target)
        self.walk.begin()
        self.most = most
        self.again: list[bytes] = []

    def step(self) -> list[Seen] | None:
        """The next pairs, without those that lead to the cursor; None at the end."""
        stretch = self.walk.next(self.most)
        if stretch is None:
            return None
        assert len(stretch.pairs) <= self.most
        found = []
        for source, target in stretch.pairs:
            entry = source or target
            assert entry is not None
            path = names.join(stretch.folder, entry.name)
            found.append(Seen(path, source and source.kind, target and target.kind))
        for seen in found[:-1]:
            assert Kind.FOLDER not in (seen.source, seen.target)
        last = found[-1]
        if Kind.FOLDER in (last.source, last.target):
            self.walk.enter(
                last.path, in_source=last.source is Kind.FOLDER, in_target=last.target is Kind.FOLDER
            )
        if stretch.finished:
            self.again += [seen.path for seen in found]
            return []
        self.span = Span(self.span.prefix, self.span.start, self.span.stop, last.path)
        return found

    def rest(self) -> list[Seen]:
        """All that is still to come."""
        found: list[Seen] = []
        while (more := self.step()) is not None:
            found += more
        return found


def _expected(source: list[bytes], target: list[bytes], all_of_target: bool = True) -> list[Seen]:
    def kind(path: bytes, paths: list[bytes]) -> Kind | None:
        if path not in paths:
            return None
        return Kind.FOLDER if any(names.parent(other) == path for other in paths) else Kind.FILE

    paths = {*source, *target} if all_of_target else set(source)
    return [Seen(path, kind(path, source), kind(path, target)) for path in sorted(paths, key=names.parts)]


KINDS = st.tuples(*[st.sampled_from(["names", "bytes", "none"])] * 2)
MOST = st.integers(1, 4)


@pytest.fixture(autouse=True, params=[2, 1000])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much smaller than folders, or larger than all."""
    monkeypatch.setattr(levels, "BLOCK", request.param)


@ROUNDS
@given(TREES, TREES, KINDS, st.booleans(), MOST)
def test_every_pair_is_walked_once_and_in_order(source, target, kinds, all_of_target, most):
    stores = _tree(source, kinds[0]), _tree(target, kinds[1])
    walker = Walker(stores, Span(), all_of_target, most)
    assert walker.rest() == _expected(source, target, all_of_target)
    assert walker.again == []


@ROUNDS
@given(TREES, TREES, KINDS, MOST, st.data())
def test_from_a_cursor_the_rest_is_walked(source, target, kinds, most, data):
    whole = _expected(source, target)
    if not whole:
        return
    cursor = data.draw(st.sampled_from([seen.path for seen in whole]), "cursor")
    walker = Walker((_tree(source, kinds[0]), _tree(target, kinds[1])), Span(cursor=cursor), most=most)
    assert walker.rest() == [seen for seen in whole if names.parts(seen.path) > names.parts(cursor)]
    way = names.parts(cursor)
    assert walker.again == [b"/".join(way[:depth]) for depth in range(1, len(way) + 1)]


@ROUNDS
@given(TREES, TREES, TREES, KINDS, st.data())
def test_a_cursor_whose_item_is_gone_leads_to_what_comes_after_it(before, source, target, kinds, data):
    """The tree has changed since the commit."""
    if not before:
        return
    cursor = data.draw(st.sampled_from(before), "cursor")
    walker = Walker((_tree(source, kinds[0]), _tree(target, kinds[1])), Span(cursor=cursor))
    expected = [s for s in _expected(source, target) if names.parts(s.path) > names.parts(cursor)]
    assert walker.rest() == expected


@ROUNDS
@given(TREES, TREES, KINDS, st.none() | NAMES, st.none() | NAMES)
def test_a_span_is_walked_between_its_bounds(source, target, kinds, start, stop):
    walker = Walker((_tree(source, kinds[0]), _tree(target, kinds[1])), Span(b"", start, stop))
    expected = [
        seen
        for seen in _expected(source, target)
        if (start is None or names.parts(seen.path)[0] >= start)
        and (stop is None or names.parts(seen.path)[0] < stop)
    ]
    assert walker.rest() == expected


@ROUNDS
@given(TREES, TREES, KINDS, st.booleans(), MOST, st.integers(1, 8), st.integers(1, 5000), st.data())
def test_what_is_given_away_and_what_is_left_are_the_whole(
    source, target, kinds, all_of_target, most, pieces, sample, data
):
    """At any moment, again and again, by parts of parts; a successor may walk what is left anew."""
    stores = _tree(source, kinds[0]), _tree(target, kinds[1])
    found: list[Seen] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "_SAMPLE", sample)
        waiting = [Partition.of(0, Part(Phase.COPY, Span()))]
        while waiting:
            partition = ledger.grant(waiting.pop(), "h", "l", 0.0, 1.0)
            assert isinstance(partition.rest, Span)
            walker = Walker(stores, partition.rest, all_of_target, most)
            for _ in range(data.draw(st.integers(0, 6), "steps")):
                if (more := walker.step()) is None:
                    break
                found += more
            given_away = walker.walk.give_away(walker.span, pieces)
            if given_away is None:
                found += walker.rest()
                continue
            rest, parts = given_away
            assert 1 <= len(parts) <= pieces
            # As the keeper of the ledger checks it: nothing twice, and nothing that was not to do.
            after, added = ledger.commit(partition, Commit(1, rest, tuple(parts)), 0.0, 1.0)
            waiting += [Partition.of(0, part) for part in added]
            if data.draw(st.booleans(), "a successor"):
                waiting.append(ledger.release(after))
            else:
                walker.span = rest
                found += walker.rest()
    assert sorted(found, key=lambda seen: names.parts(seen.path)) == _expected(source, target, all_of_target)


def test_a_wide_folder_is_given_away_in_parts_of_like_size(monkeypatch):
    paths = [b"%04d" % number for number in range(900)]
    for kind in ("names", "bytes"):
        walker = Walker((_tree(paths, kind), _tree([], kind)), Span(), most=1000)
        assert walker.walk.next(1) is not None
        given_away = walker.walk.give_away(Span(cursor=b"0000"), 8)
        assert given_away is not None
        rest, parts = given_away
        bounds = [*(int(part.start or b"") for part in parts), 900]
        sizes = [high - low for low, high in pairwise(bounds)]
        assert len(parts) == 8
        assert max(sizes) - min(sizes) <= 8
        assert rest.stop == parts[0].start
        assert bounds[0] >= 100


def test_nobody_lists_a_wide_folder_again_for_what_is_done_sooner(monkeypatch):
    """What is left is given away only while half of it takes longer than to list all; by a clock of ours."""
    clock = [0.0]

    def moved() -> None:
        clock[0] += 1.0

    for module in (walks, levels):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(walks, "_WIDE", 1)
    paths = [b"%04d" % number for number in range(900)]
    walk = Walk(_tree(paths, "names"), _tree([], "names"), Span(), moved)
    walk.begin()
    assert all(walk.next(1) for _ in range(450))
    clock[0] += 100.0

    given_away = walk.give_away(Span(cursor=b"0449"), 8)

    assert given_away is not None
    rest, parts = given_away
    # The other one has to list it first, so that this one keeps a little more than half.
    assert [part.start for part in parts] == [rest.stop] == [b"0678"]
    assert all(walk.next(1) for _ in range(225))
    clock[0] += 50.0
    assert walk.give_away(Span(cursor=b"0674", stop=rest.stop), 8) is None
    assert len([*iter(walk.next, None)]) > 0


class _Breaking(_Tree):
    """A store whose listing of one folder breaks off after some entries."""

    def __init__(self, paths: Iterable[bytes], folder: bytes, after: int) -> None:
        super().__init__(paths, "bytes")
        self._folder = folder
        self._after = after

    def list(self, folder: bytes) -> Iterator[Entry]:
        found = super().list(folder)
        return self._broken(found) if folder == self._folder else found

    def _broken(self, found: Iterator[Entry]) -> Iterator[Entry]:
        for number, entry in enumerate(found):
            if number == self._after:
                break
            yield entry
        raise Unavailable("the service is busy")


PATHS = [b"a", b"a/1", b"a/2", b"b", b"c", b"d", b"d/1", b"e", b"f"]


@pytest.fixture
def page_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a listing has given before it breaks off is seen."""
    monkeypatch.setattr(listing, "_TELL_EVERY", 1)


@pytest.mark.usefixtures("page_of_one")
@pytest.mark.parametrize(("folder", "after"), [(b"", 2), (b"a", 1), (b"d", 0)])
@pytest.mark.parametrize("trouble", [SourceUnlisted, TargetUnlisted])
def test_a_listing_that_breaks_off_is_told_of_its_own_folder(folder, after, trouble):
    whole, broken = _tree(PATHS, "bytes"), cast("Store", _Breaking(PATHS, folder, after))
    walker = Walker((broken, whole) if trouble is SourceUnlisted else (whole, broken), Span(), most=1)
    with pytest.raises(trouble, match="busy"):
        walker.rest()
    assert walker.walk.unlisted == folder


@pytest.mark.usefixtures("page_of_one")
def test_nothing_of_a_listing_that_breaks_off_is_given_away(monkeypatch):
    """Half of what is there must not pass for all of it; whose turn comes to list it tells of the trouble."""
    monkeypatch.setattr(levels, "BLOCK", 2)
    walker = Walker((cast("Store", _Breaking(PATHS, b"", 4)), _tree([], "bytes")), Span(), most=1)
    assert walker.step() is not None
    assert walker.walk.give_away(walker.span, 8) is None
    with pytest.raises(SourceUnlisted, match="busy"):
        walker.rest()


class _Splitting(Passing):
    """A ledger that always has somebody waiting for work."""

    def commit(self, token, progress):
        super().commit(token, progress)
        return Renewal(float("inf"), split=True)


@pytest.mark.usefixtures("page_of_one")
@pytest.mark.parametrize(("broken", "code"), [(b"", "AZSM1001"), (b"d", None)])
@pytest.mark.parametrize("ledger_of", [Passing, _Splitting])
def test_a_run_whose_source_breaks_off_fails_there_and_deletes_nothing(monkeypatch, broken, code, ledger_of):
    """In Mirror, what was not listed must not be taken for gone; the rest of the tree is copied."""
    monkeypatch.setattr(span, "_FIRST_ITEMS", 1)
    monkeypatch.setattr(chapter, "FIRST_COMMIT_SECONDS", -1.0)
    monkeypatch.setattr(chapters, "FIRST_COMMIT_SECONDS", -1.0)
    places = fresh_places()
    source, target = MemoryStore(places[0]), MemoryStore(places[1])
    for path in (b"a/1", b"d/1", b"d/2", b"d/3", b"d/4", b"e", b"f/1"):
        source.seed(path, b"x")
    for path in (b"d/3", b"d/4", b"f/1", b"f/gone"):
        target.seed(path, b"old")
    real = MemoryStore.list

    def broken_off(found: Iterator[Entry]) -> Iterator[Entry]:
        yield next(found)
        raise Unavailable("the service is busy")

    def listed(self: MemoryStore, folder: bytes) -> Iterator[Entry]:
        found = real(self, folder)
        return broken_off(found) if self._location == places[0] and folder == broken else found

    monkeypatch.setattr(MemoryStore, "list", listed)
    # Entries page by page: not by deleting methods, as Python remembers which classes meet a protocol.
    monkeypatch.setattr("wherry.engine.listing.ListsNames", type("NoStore", (), {}))
    order = order_of(places, JobOptions(mode=CopyMode.MIRROR))
    with closing(LocalLedger()) as kept, closing(Pool(0)) as pool:
        kept.open(order)
        if code:
            with pytest.raises(RunError) as failed:
                work_off(order, kept, pool, port=ledger_of(kept))
            assert failed.value.code == code
        else:
            rows = work_off(order, kept, pool, port=ledger_of(kept))
            assert [row.path for row in rows if row.outcome is Outcome.FAILED] == [b"d/"]
            assert {row.path for row in rows if row.outcome is Outcome.TRANSFERRED} >= {b"a/1", b"e", b"f/1"}
    assert {b"d/3", b"d/4"} <= set(target.paths())
