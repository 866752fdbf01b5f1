"""Runs on random trees that are interrupted at every place a call can fail: the end is always the same.

The oracle is a dictionary of what the source held; the counters must tell each item once and as what it was,
whatever was lost on the way, whether before or after the effect of a call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.engine import chapters
from wherry.engine.batch import Batch
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.engine.worker import perform
from wherry.model.entry import Kind
from wherry.model.ledger import LOSSES_BEFORE_ISOLATION, Slice, Token, WorkItem
from wherry.model.options import CopyMode, JobOptions
from wherry.model.outcomes import Outcome, Row, decode_rows
from wherry.model.wire import Place, Progress, Renewal, RunOrder, Sighting, Start
from wherry.stores.memory import MemoryStore, world
from wherry.stores.port import StoreSpec

T = TypeVar("T")
_serial = itertools.count()


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

    def keep(self, token: Token, name: str, segment: bytes) -> None:
        self._run(lambda: self.inner.keep(token, name, segment))

    def sight(self, token: Token, sighting: Sighting) -> Start:
        return self._run(lambda: self.inner.sight(token, sighting))


class Lazy(Pool):
    """A pool that does a batch only when somebody waits for it, so that decisions run far ahead of deeds."""

    def __init__(self) -> None:
        super().__init__(0)
        self._waiting: dict[Future[list[Row]], Batch] = {}

    def submit(self, batch: Batch) -> Future[list[Row]]:
        future: Future[list[Row]] = Future()
        self._waiting[future] = batch
        return future

    def result(self, future: Future[list[Row]], timeout: float | None = None) -> list[Row]:
        if not future.done():
            future.set_result(super().submit(self._waiting.pop(future)).result())
        return future.result()


NAMES = st.sampled_from([b"a", b"a-b", b"a.txt", b"b", b"c", b"\xf0\x9f\x98\x80", b"\xff"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
TREES = st.dictionaries(PATHS, st.one_of(st.none(), st.binary(max_size=6)), max_size=20)


def grow(name: str, tree: dict[bytes, bytes | None], modified: int) -> MemoryStore:
    """A store that holds a tree; None is a folder.  What lies below a file is left out."""
    store = MemoryStore(name)
    files = {path for path, data in tree.items() if data is not None}
    for path, data in sorted(tree.items()):
        pieces = path.split(b"/")
        if any(b"/".join(pieces[:n]) in files for n in range(1, len(pieces))) or path in world(name).nodes:
            continue
        kind = Kind.FOLDER if data is None else Kind.FILE
        store.seed(path, data or b"", kind, modified=modified)
    for path in list(store.paths()):
        node = world(name).nodes[path]
        if node.entry.kind is Kind.FOLDER:
            node.entry = node.entry._replace(modified=modified, sealed=True)
    return store


class Story:
    """One run, told by its ledger, with as many leases as it takes."""

    def __init__(self, source: dict[bytes, bytes | None], target: dict[bytes, bytes | None], mode: CopyMode):
        number = next(_serial)
        self.names = (f"source-{number}", f"target-{number}")
        self.source = grow(self.names[0], source, 1_000)
        self.target = grow(self.names[1], target, 2_000)
        self.options = JobOptions(mode=mode, max_delete=1000, allow_empty_source=True)
        near, far = (Place("memory", name) for name in self.names)
        self.order = RunOrder("run", near, far, self.options)
        self.rows: list[Row] = []

    def run(self, deaths: list[tuple[int, bool]], split_every: int) -> LocalLedger:
        ledger = LocalLedger()
        ledger.open(self.order)
        port = Interrupting(ledger, deaths, split_every)
        near, far = (StoreSpec("memory", name) for name in self.names)
        pool = Lazy()
        losses = 0
        while (grant := ledger.lease(self.order)) is not None:
            lease = pool.lease()
            lease.forever()
            try:
                perform(grant, port, near, far, pool, lease)
            except WorkerDied:
                # A third loss in a row would rightly be held against the partition.
                lost = losses < LOSSES_BEFORE_ISOLATION - 1
                losses += lost
                ledger.release(grant.token, lost)
            finally:
                lease.close()
        assert not ledger.busy()
        for segment in ledger.segments():
            self.rows.extend(decode_rows(segment))
        return ledger


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chapters, "BATCH_ITEMS", 1)
    monkeypatch.setattr(chapters, "COMMIT_ITEMS", 2)


def _shape(store: MemoryStore) -> dict[bytes, tuple[Kind, bytes, int | None]]:
    return {
        path: (e.kind, data, e.modified) for path, data in store.paths().items() if (e := store.stat(path))
    }


DEATHS = st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=8)
ROUNDS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@ROUNDS
@given(TREES, TREES, DEATHS, st.integers(0, 3))
def test_a_mirror_ends_equal_however_often_it_is_interrupted(source, target, deaths, split_every):
    story = Story(source, target, CopyMode.MIRROR)
    ledger = story.run(deaths, split_every)
    assert ledger.error() is None
    assert _shape(story.target) == _shape(story.source)
    counters = ledger.counters()
    assert counters.settled == counters.items.get("Scanned", 0) == len(story.source.paths())
    assert counters.items.get("Failed", 0) == 0
    ledger.close()


@ROUNDS
@given(TREES, TREES, DEATHS, st.integers(0, 3))
def test_each_item_is_counted_as_what_it_was(source, target, deaths, split_every):
    quiet = Story(source, target, CopyMode.MIRROR)
    expected = quiet.run([], 0).counters()
    shaken = Story(source, target, CopyMode.MIRROR)
    ledger = shaken.run(deaths, split_every)
    assert ledger.counters().items == expected.items
    assert ledger.counters().bytes == expected.bytes
    ledger.close()


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
    return {path: kind for path, (kind, *_) in _shape(store).items()}


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


def test_a_partition_that_kills_its_workers_is_cut_until_one_item_fails_alone():
    tree: dict[bytes, bytes | None] = {b"d/%02d" % n: b"x" for n in range(9)}
    story = Story(tree, {}, CopyMode.ADDITIVE)
    poison = b"d/05"

    ledger = LocalLedger()
    ledger.open(story.order)
    near, far = (StoreSpec("memory", name) for name in story.names)

    class Poisoned(Pool):
        def submit(self, batch: Batch) -> Future[list[Row]]:
            if any(deed.path == poison for deed in batch.deeds):
                raise WorkerDied("poison")
            return super().submit(batch)

    pool = Poisoned(0)
    for _ in range(200):
        grant = ledger.lease(story.order)
        if grant is None:
            break
        lease = pool.lease()
        lease.forever()
        try:
            perform(grant, ledger, near, far, pool, lease)
        except WorkerDied:
            ledger.release(grant.token, lost=True)
        finally:
            lease.close()
    counters = ledger.counters()
    assert counters.items["Failed"] == 1
    assert counters.items["Transferred"] == len(tree)
    rows = [row for segment in ledger.segments() for row in decode_rows(segment)]
    assert [row.path for row in rows if row.outcome is Outcome.FAILED] == [poison]
    ledger.close()
