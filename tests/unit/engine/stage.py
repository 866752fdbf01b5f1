"""What tests of the engine share: places in memory, runs that are worked off lease by lease, teams that put off."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any, TypeVar

from wherry.engine.lease import LeaseClock
from wherry.engine.ledger import Ledger, LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.engine.team import Team
from wherry.model.entry import Kind
from wherry.model.ledger import Slice, Token, WorkItem
from wherry.model.options import JobOptions
from wherry.model.outcomes import Row, rows_of
from wherry.model.wire import Grant, Place, Progress, Renewal, RunOrder, SegmentName, Sighting, Start
from wherry.stores.memory import MemoryStore
from wherry.stores.port import StoreSpec, Traits

T = TypeVar("T")
D = TypeVar("D")

_serial = itertools.count()


def fresh_places() -> tuple[str, str]:
    """Names of a source and a target in memory that nobody has used."""
    number = next(_serial)
    return f"source-{number}", f"target-{number}"


def order_of(places: tuple[str, str], options: JobOptions | None = None, kind: str = "memory") -> RunOrder:
    """The order of a run between two places."""
    near, far = (Place(kind, place) for place in places)
    return RunOrder("run", near, far, options or JobOptions())


def specs_of(order: RunOrder) -> tuple[StoreSpec, StoreSpec]:
    """How a worker opens the places of an order."""
    return (
        StoreSpec(order.source.kind, order.source.location),
        StoreSpec(order.target.kind, order.target.location, create=order.target.kind == "posix"),
    )


def work_off(
    order: RunOrder,
    ledger: LocalLedger,
    pool: Pool,
    *,
    port: Ledger | None = None,
    lost: Callable[[Grant], bool] = lambda _: False,
    leases: int = 2000,
) -> list[Row]:
    """Do lease after lease until no work is left; the rows of all commits.

    A worker that dies gives its lease back, as a lost one when `lost` says so.
    """
    for _ in range(leases):
        grant = ledger.lease(order)
        if grant is None:
            assert not ledger.busy()
            return [row for lines in ledger.segments() for row in rows_of(lines)]
        clock = pool.lease()
        clock.forever()
        try:
            pool.perform(grant, port or ledger, *specs_of(order), clock)
        except WorkerDied:
            ledger.release(grant.token, lost(grant))
        finally:
            pool.give_back(clock)
    raise AssertionError("it goes on for ever")


class Passing:
    """A ledger that passes every call on; tests override what they change."""

    def __init__(self, inner: LocalLedger) -> None:
        self.inner = inner

    def commit(self, token: Token, progress: Progress) -> Renewal:
        return self.inner.commit(token, progress)

    def items(self, token: Token, work: Slice, after: bytes, limit: int) -> list[WorkItem]:
        return self.inner.items(token, work, after, limit)

    def keep(self, token: Token, seq: int, lines: bytes) -> SegmentName:
        return self.inner.keep(token, seq, lines)

    def sight(self, token: Token, sighting: Sighting) -> Start:
        return self.inner.sight(token, sighting)


class LazyTeam(Team):
    """A team that does what it was given only when somebody waits for it: decisions run as far ahead as they can."""

    def __init__(self, source: Traits, target: Traits) -> None:
        super().__init__(source, target)
        self._width = 1
        self._loads: list[_Later[Any]] = []

    def do(
        self, deeds: Sequence[D], deed: Callable[[D], list[T]], size: Callable[[D], int]
    ) -> Future[list[T]]:
        later: _Later[T] = _Later(lambda: [result for one in deeds for result in deed(one)])
        self._loads.append(later)
        return later

    def close(self) -> None:
        for load in self._loads:
            if not load.done() and load.cancel():
                load.set_running_or_notify_cancel()
        super().close()


class _Later(Future[list[T]]):
    """A result that is made when it is asked for."""

    def __init__(self, make: Callable[[], list[T]]) -> None:
        super().__init__()
        self._make = make

    def result(self, timeout: float | None = None) -> list[T]:
        if not self.done():
            try:
                self.set_result(self._make())
            except BaseException as error:  # noqa: BLE001 - a future hands every error to whoever asks
                self.set_exception(error)
        return super().result(0)


def grow(name: str, tree: dict[bytes, bytes | None], modified: int) -> MemoryStore:
    """A store that holds a tree; None is a folder.  What lies below a file is left out."""
    store = MemoryStore(name)
    files = {path for path, data in tree.items() if data is not None}
    for path, data in sorted(tree.items()):
        pieces = path.split(b"/")
        if any(b"/".join(pieces[:n]) in files for n in range(1, len(pieces))) or store.stat(path):
            continue
        kind = Kind.FOLDER if data is None else Kind.FILE
        store.seed(path, data or b"", kind, modified=modified)
    for path, node in _nodes(store):
        if path and node.entry.kind is Kind.FOLDER:
            node.entry = node.entry._replace(modified=modified, sealed=True)
    return store


def _nodes(store: MemoryStore) -> Iterator[tuple[bytes, Any]]:
    return iter(list(store._world.nodes.items()))


def shape(store: MemoryStore) -> dict[bytes, tuple[Kind, bytes, int | None]]:
    """What a store holds, as far as a copy must be equal to it."""
    return {
        path: (e.kind, data, e.modified) for path, data in store.paths().items() if (e := store.stat(path))
    }


def copied(order: RunOrder, by: Pool) -> dict[str, int]:
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        work_off(order, ledger, by)
        return ledger.counters().items


def perform(order: RunOrder, by: Pool, clock: LeaseClock, ledger: LocalLedger) -> None:
    """One lease."""
    grant = ledger.lease(order)
    assert grant is not None
    by.perform(grant, ledger, *specs_of(order), clock)
