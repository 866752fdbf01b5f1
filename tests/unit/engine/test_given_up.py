"""Work that ends even those who are only to cut it fails by itself: nothing is leased for ever."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.between import between
from tests.unit.engine.stage import fresh_places, order_of, work_off
from wherry.engine import pool as pools
from wherry.engine.copy import copy
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.engine.worker import Task
from wherry.engine.worker import work as real_work
from wherry.model.entry import Kind
from wherry.model.errors import RunError
from wherry.model.ledger import Phase, Span
from wherry.model.options import CopyMode, JobOptions
from wherry.model.outcomes import Outcome, Row
from wherry.model.wire import RunOrder
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Store, StoreSpec
from wherry.stores.wrap.fault import Fault, FaultStore

FOR_GOOD = 1 << 30


@pytest.fixture
def order() -> RunOrder:
    """A mirror with work in every phase."""
    places = fresh_places()
    source, target = MemoryStore(places[0]), MemoryStore(places[1])
    for name in (b"a", b"bad/x", b"bad/y", b"c/d"):
        source.seed(name, name, modified=1)
    source.seed(b"h", b"h", modified=1)
    source.make_link(b"h-too", b"h", None)
    source.seed(b"empty", kind=Kind.FOLDER)
    target.seed(b"stale", b"1")
    return order_of(places, JobOptions(mode=CopyMode.MIRROR, max_delete=100))


def run(order: RunOrder, pool: Pool | None = None) -> tuple[list[Row], dict[str, int]]:
    with closing(LocalLedger()) as ledger, closing(pool or Pool(0)) as workers:
        ledger.open(order)
        rows = work_off(order, ledger, workers, lost=lambda _: True, leases=100)
        return rows, ledger.counters().items


def failures(rows: list[Row]) -> list[tuple[bytes, str]]:
    return sorted((row.path, row.code) for row in rows if row.outcome is Outcome.FAILED)


def test_a_folder_that_nobody_lists_and_lives_fails_alone(order, monkeypatch):
    def wrapped(spec: StoreSpec, store: Store) -> Store:
        if spec.location != order.source.location:
            return store
        died = WorkerDied("A worker process ended unexpectedly.")
        return FaultStore(store, Fault("[ln]*", "bad", times=FOR_GOOD, error=died))

    between(monkeypatch, wrapped)
    rows, counts = run(order)

    assert failures(rows) == [(b"bad/", "AZSM1002")]
    (row,) = (row for row in rows if row.outcome is Outcome.FAILED)
    assert "A worker process ended unexpectedly." in row.detail
    there = MemoryStore(order.target.location).paths()
    assert {b"a", b"c/d", b"h", b"h-too", b"empty"} <= set(there)
    assert b"bad/x" not in there
    assert b"stale" not in there
    assert counts["Scanned"] == counts["Transferred"] + counts["Failed"]


@pytest.mark.parametrize(
    ("phase", "failed"),
    [
        (Phase.LINKS, [b"h", b"h-too"]),
        (Phase.DELETE, [b"stale"]),
        (Phase.FOLDERS, [b"bad", b"c", b"empty"]),
    ],
)
def test_items_of_a_phase_that_nobody_survives_fail_one_by_one(order, monkeypatch, phase, failed):
    def work(task: Task) -> None:
        if task.grant.phase is phase:
            raise WorkerDied("gone")
        real_work(task)

    monkeypatch.setattr(pools, "work", work)
    rows, counts = run(order)

    assert failures(rows) == [(path, "AZSM2080") for path in failed]
    assert counts["Failed"] == len(failed)
    assert counts["Scanned"] == counts["Transferred"] + counts["Failed"]


def test_a_copy_whose_root_nobody_survives_ends(order, monkeypatch):
    def work(_: Task) -> None:
        raise WorkerDied("too many processes")

    monkeypatch.setattr(pools, "work", work)
    near, far = (StoreSpec("memory", place.location) for place in (order.source, order.target))
    end = copy(near, far, JobOptions(), workers=0).end

    assert end.code == "AZSM1060"
    assert "too many processes" in end.message


@pytest.mark.parametrize(
    ("span", "path", "extent"),
    [
        (Span(b"d"), b"d/", ""),
        (Span(b"d", b"m", b"m\0"), b"d/m/", "With what comes before m"),
        (Span(b"d", b"m"), b"d/m/", "With all that follows"),
        (Span(b"", b"m"), b"m/", "With all that follows"),
        (Span(b"", None, b"m"), b"/", "In it what comes before m: "),
    ],
)
def test_a_part_of_a_folder_is_named(order, span, path, extent):
    with closing(LocalLedger()) as ledger, closing(Pool(0)) as pool:
        ledger.open(order)
        grant = ledger.lease(order)
        assert grant is not None
        told: list[Any] = []

        class Told:
            def keep(self, *more: Any) -> Any:
                told.append(more[2])
                return ledger.keep(*more)

            def commit(self, token: Any, progress: Any) -> Any:
                told.append(progress)
                return ledger.commit(token, progress)

            items, sight = ledger.items, ledger.sight

        clock = pool.lease()
        pool.perform(
            replace(grant, work=span, hopeless=True),
            Told(),
            StoreSpec("no", "x"),
            StoreSpec("no", "x"),
            clock,
        )

    lines, progress = told
    assert lines.split(b"\t")[5] == path
    assert extent.encode() in lines
    assert progress.commit.rest is None
    assert progress.counters.items == {"Scanned": 1, "Failed": 1}


def test_the_whole_tree_is_no_item(order):
    with closing(LocalLedger()) as ledger, closing(Pool(0)) as pool:
        ledger.open(order)
        grant = ledger.lease(order)
        assert grant is not None
        clock = pool.lease()
        with pytest.raises(RunError, match="again and again"):
            pool.perform(
                replace(grant, hopeless=True), ledger, StoreSpec("no", "x"), StoreSpec("no", "x"), clock
            )
