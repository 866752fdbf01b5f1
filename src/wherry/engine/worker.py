"""Work a lease off, in whichever process a task has come to: open both places, tell the ledger what is there, and
do the span or slice.

Called by `pool`, through its executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from wherry.engine.chapters import Desk, Stopped
from wherry.engine.deeds import Both
from wherry.engine.kept_stores import KEPT
from wherry.engine.lease import LeaseClock, table_at
from wherry.engine.ledger import Ledger
from wherry.engine.pacer import Limits, Pacer
from wherry.engine.places import look
from wherry.engine.remote_ledger import Address, reached
from wherry.engine.slices import SliceWork
from wherry.engine.span import SpanWork
from wherry.engine.team import Team
from wherry.model.ledger import Slice
from wherry.model.options import Verify
from wherry.model.plan import Attempt, Judge
from wherry.model.wire import Grant
from wherry.stores.lane import HasLane, Lane
from wherry.stores.port import Store, StoreSpec


@dataclass(frozen=True, slots=True)
class Task:
    """One lease's work, with all that a worker needs for it.  `table` and `slot` are those of its clock."""

    grant: Grant
    source: StoreSpec
    target: StoreSpec
    ledger: Address
    table: str
    slot: int
    logged: bool
    limits: Limits | None = None


def work(task: Task) -> None:
    """Do a task; raises what `Pool.perform` says."""
    clock = LeaseClock(table_at(task.table), task.slot)
    with reached(task.ledger) as ledger:
        _perform(task, ledger, clock)


@contextmanager
def _paced(limits: Limits | None, moved: Callable[[], None]) -> Iterator[Pacer | None]:
    if limits is None:
        yield None
        return
    with closing(Pacer(limits, moved)) as pacer:
        yield pacer


def _lane(source: Store, target: Store, judge: Judge) -> Lane | None:
    """The short way for small files, where there is one and they are neither masked nor read back."""
    options = judge.options
    plainly = options.verify in (Verify.SOURCE, Verify.CHECKSUM) and judge.keeps_all
    plainly = plainly and options.bandwidth is None and options.requests_per_second is None
    return target.lane(source) if plainly and isinstance(target, HasLane) else None


def _perform(task: Task, ledger: Ledger, clock: LeaseClock) -> None:
    moved = clock.advance

    def patient() -> None:
        # A turn may be hours away: whoever waits for it obeys at once.
        moved()
        if clock.stop:
            raise Stopped

    # A large file passes the target's fence again and again: that is progress, too.
    with (
        KEPT.store("source", task.source, clock.fence) as near,
        KEPT.store("target", task.target, moved) as far,
        closing(Team(near.traits, far.traits)) as team,
        _paced(task.limits, patient) as pacer,
    ):
        start = ledger.sight(task.grant.token, look(near, far))
        attempt = Attempt(task.grant.revisited, start.since, start.restarted)
        judge = Judge(task.grant.order.options, far.traits.holds, attempt, bare=far.traits.bare)
        both = Both(near, far, judge, clock.fence, moved, team, pacer)
        desk = Desk(task.grant, ledger, both, clock, task.logged, _lane(near, far, judge))
        if isinstance(task.grant.work, Slice):
            SliceWork(desk, task.grant.work).run()
        else:
            SpanWork(desk, task.grant.work).run()
