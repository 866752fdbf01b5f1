"""Runs on random trees that are interrupted at every place a call can fail: the end is always the same.

The oracle is a dictionary of what the source held; the counters must tell each item once and as what it was,
whatever was lost on the way, whether before or after the effect of a call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.engine.stage import LazyTeam, fresh_places, grow, order_of, shape, work_off
from wherry.engine import chapter, chapters, deeds, level, span, worker
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.engine.team import Team
from wherry.model.entry import Kind
from wherry.model.ledger import LOSSES_BEFORE_ISOLATION, Slice, Token, WorkItem
from wherry.model.options import CopyMode, JobOptions
from wherry.model.outcomes import Outcome, Row
from wherry.model.wire import Grant, Progress, Renewal, SegmentName, Sighting, Start
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Traits

T = TypeVar("T")


class Interrupting:
    """A ledger whose calls die, by a script, before or after they took effect."""

    def __init__(self, inner: LocalLedger, deaths: list[tuple[int, bool]], split_every: int) -> None:
        self.inner = inner
        self.deaths = dict(deaths)
        self.calls = 0
        self.split_every = split_every

    def _run(self, call: Callable[[], T]) -> T:
        self.calls += 1
        after = self.deaths.get(self.calls)
        if after is False:
            raise WorkerDied("before it took effect")
        answer = call()
        if after:
            raise WorkerDied("after it took effect")
        return answer

    def commit(self, token: Token, progress: Progress) -> Renewal:
        answer = self._run(lambda: self.inner.commit(token, progress))
        self.inner.commit(token, progress)
        return replace(answer, split=bool(self.split_every) and self.calls % self.split_every == 0)

    def items(self, token: Token, work: Slice, after: bytes, limit: int) -> list[WorkItem]:
        return self._run(lambda: self.inner.items(token, work, after, min(limit, 2)))

    def keep(self, token: Token, seq: int, lines: bytes) -> SegmentName:
        return self._run(lambda: self.inner.keep(token, seq, lines))

    def sight(self, token: Token, sighting: Sighting) -> Start:
        return self._run(lambda: self.inner.sight(token, sighting))


NAMES = st.sampled_from([b"a", b"a-b", b"a.txt", b"b", b"c", b"\xf0\x9f\x98\x80", b"\xff"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
TREES = st.dictionaries(PATHS, st.one_of(st.none(), st.binary(max_size=6)), max_size=20)


class Story:
    """One run, told by its ledger, with as many leases as it takes."""

    def __init__(self, source: dict[bytes, bytes | None], target: dict[bytes, bytes | None], mode: CopyMode):
        self.names = fresh_places()
        self.source = grow(self.names[0], source, 1_000)
        self.target = grow(self.names[1], target, 2_000)
        options = JobOptions(mode=mode, max_delete=1000, allow_empty_source=True)
        self.order = order_of(self.names, options)
        self.rows: list[Row] = []

    def run(self, deaths: list[tuple[int, bool]], split_every: int) -> LocalLedger:
        ledger = LocalLedger()
        ledger.open(self.order)
        losses = 0

        def lost(_: Grant) -> bool:
            # A third loss in a row would rightly be held against the partition.
            nonlocal losses
            lost = losses < LOSSES_BEFORE_ISOLATION - 1
            losses += lost
            return lost

        with closing(Pool(0)) as pool:
            port = Interrupting(ledger, deaths, split_every)
            self.rows += work_off(self.order, ledger, pool, port=port, lost=lost)
        return ledger


@pytest.fixture(autouse=True, params=["at once", "late", "in threads"])
def _small_steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chapters and commits of an item or two; with deeds as early, or as late, as can be."""
    monkeypatch.setattr(chapters, "CHAPTER_ITEMS", 1)
    monkeypatch.setattr(span, "_FIRST_ITEMS", 1)
    monkeypatch.setattr(chapters, "COMMIT_ITEMS", 2)
    monkeypatch.setattr(chapter, "FIRST_COMMIT_SECONDS", -1.0)
    monkeypatch.setattr(chapters, "FIRST_COMMIT_SECONDS", -1.0)
    monkeypatch.setattr(level, "BLOCK", 3)
    if request.param == "late":
        monkeypatch.setattr(worker, "Team", LazyTeam)
    if request.param == "at once":
        monkeypatch.setattr(worker, "Team", _AtOnce)


class _AtOnce(Team):
    """A team that leaves small deeds to the walking thread."""

    def __init__(self, source: Traits, target: Traits) -> None:
        super().__init__(source, target)
        self.local = True


DEATHS = st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=8)
ROUNDS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@ROUNDS
@given(TREES, TREES, DEATHS, st.integers(0, 3))
def test_a_mirror_ends_equal_however_often_it_is_interrupted(source, target, deaths, split_every):
    story = Story(source, target, CopyMode.MIRROR)
    ledger = story.run(deaths, split_every)
    assert ledger.error() is None
    assert shape(story.target) == shape(story.source)
    counters = ledger.counters()
    assert counters.settled == counters.items.get("Scanned", 0) == len(story.source.paths())
    assert counters.items.get("Failed", 0) == 0
    ledger.close()


@ROUNDS
@given(TREES, TREES, DEATHS, st.integers(0, 3))
def test_each_item_is_counted_and_told_as_what_it_was(source, target, deaths, split_every):
    quiet = Story(source, target, CopyMode.MIRROR)
    expected = quiet.run([], 0)
    shaken = Story(source, target, CopyMode.MIRROR)
    ledger = shaken.run(deaths, split_every)
    assert ledger.counters().items == expected.counters().items
    assert ledger.counters().bytes == expected.counters().bytes
    assert _told(shaken.rows) == _told(quiet.rows)
    ledger.close()
    expected.close()


def _told(rows: list[Row]) -> list[tuple[bytes, Kind, Outcome, int]]:
    return sorted((row.path, row.kind, row.outcome, row.size) for row in rows)


@ROUNDS
@given(TREES, TREES, DEATHS)
def test_an_additive_run_takes_nothing_away(source, target, deaths):
    story = Story(source, target, CopyMode.ADDITIVE)
    before = story.target.paths()
    ledger = story.run(deaths, 1)
    after, wanted = story.target.paths(), story.source.paths()
    assert set(before) <= set(after)
    assert ledger.counters().items.get("Deleted", 0) == 0
    source_kinds, target_kinds = _kinds(story.source), _kinds(story.target)
    missing = {path for path in wanted if target_kinds.get(path) is not source_kinds[path]}
    clashing = {
        path
        for path in missing
        if any(
            target_kinds.get(above, source_kinds[above]) is not source_kinds[above] for above in _way_to(path)
        )
    }
    assert missing == clashing
    ledger.close()


def _kinds(store: MemoryStore) -> dict[bytes, Kind]:
    return {path: kind for path, (kind, *_) in shape(store).items()}


def _way_to(path: bytes) -> list[bytes]:
    pieces = path.split(b"/")
    return [b"/".join(pieces[:n]) for n in range(1, len(pieces) + 1)]


@ROUNDS
@given(TREES)
def test_a_second_run_transfers_nothing(source):
    story = Story(source, {}, CopyMode.MIRROR)
    story.run([], 0).close()
    again = story.run([], 2)
    counters = again.counters()
    assert counters.items.get("Transferred", 0) == 0
    assert counters.items.get("NoTransferNeeded", 0) == len(story.source.paths())
    again.close()


def test_a_partition_that_kills_its_workers_is_cut_until_one_item_fails_alone(monkeypatch):
    tree: dict[bytes, bytes | None] = {b"d/%02d" % n: b"x" for n in range(9)}
    story = Story(tree, {}, CopyMode.ADDITIVE)
    poison = b"d/05"
    real = deeds.do

    def do(both, deed):
        if deed.path == poison:
            raise WorkerDied("poison")
        return real(both, deed)

    monkeypatch.setattr(deeds, "do", do)
    with closing(LocalLedger()) as ledger, closing(Pool(0)) as pool:
        ledger.open(story.order)
        rows = work_off(story.order, ledger, pool, lost=lambda _: True, leases=200)
        counters = ledger.counters()
    assert counters.items["Failed"] == 1
    assert counters.items["Transferred"] == len(tree)
    assert [row.path for row in rows if row.outcome is Outcome.FAILED] == [poison]
