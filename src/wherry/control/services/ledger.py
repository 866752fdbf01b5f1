"""The ledger of runs in the database: leases, renewals, commits.  Each function is one transaction's work.

Decides by `model.ledger` alone; here its values are loaded, stored and joined with what else a commit brings: counters,
segment names, items put off.  Called by the agent protocol (`agents.work`) and the reaper.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from wherry.control import wakeups
from wherry.control.db.tables_identity import meta
from wherry.control.db.tables_ledger import segments
from wherry.control.refusals import NotTheirs
from wherry.control.services import (
    late_leases,
    metrics,
    partition_rows,
    phases,
    presence,
    run_end,
    run_log,
    run_state,
)
from wherry.control.services.run_state import RunState
from wherry.model import ledger
from wherry.model import run as life
from wherry.model.errors import CODES, UNREACHED, ApiError, LeaseLost
from wherry.model.ledger import Part, Partition, Slice, Token, WorkItem
from wherry.model.run import Event, RunStatus, ScanStatus
from wherry.model.wire import Grant, Progress, Renewal, SegmentName

MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Holder:
    """The agent that calls: object id of its identity, key and name of its resource."""

    oid: str
    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What a call of the ledger is bound by: the time, and how long leases last."""

    now: float
    ttl: float


def lease(conn: Connection, holder: Holder, run_id: str, terms: Terms) -> Grant | None:
    """A lease on the next partition of a run; None when none is to be had."""
    run = run_state.load(conn, run_id)
    if run is None or str(run.status) not in run_state.LEASABLE:
        return None
    free = partition_rows.next_free(conn, run.id)
    if free is None:
        return None
    leased = ledger.grant(free, holder.oid, secrets.token_hex(16), terms.now, terms.ttl)
    partition_rows.save(conn, leased)
    _moved(conn, run, Event.LEASED, terms.now)
    run_state.change_work(conn, run.id, served_at=terms.now, put_off="")
    if leased.rest is None:
        return None
    token = Token(incarnation(conn), leased.id, leased.epoch, leased.lease)
    return Grant(
        token, run.order, leased.rest, terms.ttl, leased.revisited, leased.isolate, run.since or 0, leased.phase,
        leased.hopeless,
    )  # fmt: skip


def held(
    conn: Connection, holder: Holder, run_id: str, token: Token, now: float
) -> tuple[RunState, Partition]:
    """The run and the partition that `holder` has leased; `LeaseLost`, or 404 for what is not its own."""
    run, partition = _known(conn, run_id, token, holder)
    _check(conn, run, partition, token, holder, now)
    return run, partition


def renew(
    conn: Connection, holder: Holder, run_id: str, token: Token, progress: bool, terms: Terms
) -> Renewal:
    """More time for a lease, and word of whether to split or to stop."""
    run, partition = held(conn, holder, run_id, token, terms.now)
    partition_rows.save(conn, ledger.renew(partition, progress, terms.now, terms.ttl))
    if progress:
        run_state.change_work(conn, run.id, progressed_at=terms.now)
    return _renewal(conn, run, terms)


def commit(
    conn: Connection, holder: Holder, run_id: str, token: Token, progress: Progress, terms: Terms
) -> Renewal:
    """Make finished work count.  A repetition gets the answer that the first one got."""
    run, before = _known(conn, run_id, token, holder)
    if ledger.repeated(before, token, progress.commit):
        return Renewal.from_json(partition_rows.answer(conn, before.id) or {"ttl": terms.ttl})
    _check(conn, run, before, token, holder, terms.now)
    after, parts = ledger.commit(before, progress.commit, terms.now, terms.ttl)
    _record(conn, run, before, progress, parts, terms.now)
    answer = _renewal(conn, run, terms)
    partition_rows.save(conn, after, answer.to_json())
    _go_on(conn, run, after, parts, terms.now)
    return answer


def commit_late(
    conn: Connection, holder: Holder, run_id: str, token: Token, progress: Progress, terms: Terms
) -> None:
    """Make count what was finished under a lease that may have run out meanwhile; a repetition changes nothing.

    `LeaseLost` once another holder has taken the partition up: it finds all that on the target and counts it.
    """
    run, before = late_or_held(conn, holder, run_id, token, terms.now)
    if progress.commit.seq <= before.seq:
        return
    if before.leased:
        # Told by who may be gone: its time stays what it was.
        after, parts = ledger.commit(before, progress.commit, terms.now, before.expires - terms.now)
    else:
        after, parts = ledger.commit_late(before, progress.commit, terms.now)
    _record(conn, run, before, progress, parts, terms.now)
    partition_rows.save(conn, after)
    _go_on(conn, run, after, parts, terms.now)


def late_or_held(
    conn: Connection, holder: Holder, run_id: str, token: Token, now: float
) -> tuple[RunState, Partition]:
    """As `held`, but also for a lease that ran out when nobody has leased the partition since."""
    run, partition = _known(conn, run_id, token, holder)
    if not partition.leased and not run.ended and token.incarnation == incarnation(conn):
        late_leases.check(conn, partition, token, holder.oid)
        return run, partition
    if partition.leased and (token.epoch, token.lease) == (partition.epoch, partition.lease):
        # Its time may be over without anybody having looked.
        now = min(now, partition.expires)
    _check(conn, run, partition, token, holder, now)
    return run, partition


def _record(
    conn: Connection, run: RunState, before: Partition, progress: Progress, parts: list[Part], now: float
) -> None:
    """Write down all that a commit brings but the partition itself."""
    partition_rows.add(conn, run.id, parts)
    partition_rows.forget_done(conn, run.id, before.rest, _left(progress))
    partition_rows.put_off(conn, run.id, progress.deferred)
    _name_segments(conn, run.id, before, progress.segments)
    _count(conn, run, progress, now)


def _go_on(conn: Connection, run: RunState, after: Partition, parts: list[Part], now: float) -> None:
    if parts:
        wakeups.stir(conn)
    if not after.open:
        phases.settle(conn, run.id, now)


def items(
    conn: Connection, holder: Holder, run_id: str, token: Token, after: bytes, limit: int, now: float
) -> list[WorkItem]:
    """Work items of a leased slice with a key above `after`."""
    run, partition = held(conn, holder, run_id, token, now)
    if not isinstance(partition.rest, Slice):
        return []
    return partition_rows.items(conn, run.id, partition.rest, after, max(1, min(limit, MAX_ITEMS)))


def release(
    conn: Connection, holder: Holder, run_id: str, token: Token, code: str, detail: str, now: float,
    patience: float = math.inf,
) -> None:  # fmt: skip
    """Give a lease back.  A code that fails the run ends it; any other counts as a lease lost.

    A place that was not reached is nobody's fault and is waited for, but not longer than `patience` without progress.
    """
    if code and code not in CODES:
        raise ApiError(400, "UnknownCode", f"'{code}' is not a code of the error table.")
    run, partition = held(conn, holder, run_id, token, now)
    trouble = code not in ("", "AZSM0000")
    waits = code in UNREACHED and now - run.progressed_at < patience
    partition_rows.save(conn, ledger.release(partition, trouble and not waits))
    if trouble:
        text = f"{CODES[code].message} {detail}".strip()
        run_log.tell(conn, run.id, text, now, level="Warning", code=code, source=holder.name)
    if trouble and not waits and CODES[code].disposition == "fail_run":
        run_end.finish(conn, run, life.failed(code, detail), now)
        return
    phases.settle(conn, run.id, now)
    wakeups.stir(conn)


def expire(conn: Connection, now: float, losses_limit: int) -> int:
    """Take leases away whose time is over; answers how many."""
    lost = partition_rows.expired(conn, now)
    for run_id, partition in lost:
        after = ledger.expire(partition, now)
        partition_rows.save(conn, after)
        late_leases.keep(conn, run_id, partition, now)
        run = run_state.load(conn, run_id)
        if run is None:
            continue
        who = presence.name_of(conn, partition.holder) or partition.holder
        text = f"The lease of agent '{who}' on partition {partition.id} ran out; what it does not tell is done again."
        run_log.tell(conn, run_id, text, now, level="Warning", code="AZSM1023")
        if after.lost >= losses_limit:
            detail = f"Partition {partition.id} lost its lease {after.lost} times in a row."
            run_end.finish(conn, run, life.failed("AZSM1041", detail), now)
        phases.settle(conn, run_id, now)
    if lost:
        wakeups.stir(conn)
    return len(lost)


def incarnation(conn: Connection) -> str:
    """What this database calls itself: another one after a restore, so that old leases mean nothing."""
    return str(conn.execute(select(meta.c.value).where(meta.c.key == "incarnation")).scalar_one())


def absent(run: str) -> ApiError:
    """404 for a run or lease that is none, or not the caller's: the answer tells no difference."""
    return NotTheirs("RunNotFound", f"There is no lease of yours on run '{run}'.")


def _known(conn: Connection, run_id: str, token: Token, holder: Holder) -> tuple[RunState, Partition]:
    run = run_state.load(conn, run_id)
    if run is None or not presence.may_work(conn, run, holder.key):
        raise absent(run_id)
    partition = partition_rows.load(conn, run_id, token.partition)
    if partition is None:
        if run.ended:
            raise LeaseLost("the run has ended")
        if token.incarnation != incarnation(conn):
            raise LeaseLost("it is from before a restore of the control plane")
        raise absent(run_id)
    return run, partition


def _check(
    conn: Connection, run: RunState, partition: Partition, token: Token, holder: Holder, now: float
) -> None:
    if run.ended:
        raise LeaseLost("the run has ended")
    ledger.check(partition, token, incarnation(conn), now)
    if partition.holder != holder.oid:
        raise absent(run.id)


def _left(progress: Progress) -> list[ledger.Work]:
    return [work for work in (progress.commit.rest, *progress.commit.parts) if work is not None]


def _renewal(conn: Connection, run: RunState, terms: Terms) -> Renewal:
    if run.stopping:
        status = life.move(run.status, Event.HEARD)
        if status is not run.status:
            run_state.change(conn, run.id, terms.now, status=str(status))
        return Renewal(terms.ttl, stop=True)
    idle = presence.count_waiting(conn, run, terms.now)
    split = idle > 0 and partition_rows.count_free(conn, run.id, idle) < idle
    return Renewal(terms.ttl, split=split)


def _moved(conn: Connection, run: RunState, what: Event, now: float) -> None:
    status = life.move(run.status, what)
    columns: dict[str, object] = {}
    if status is not run.status:
        columns["status"] = str(status)
    if run.started_at is None:
        columns["started_at"] = now
    if run.scan_status == ScanStatus.NOT_STARTED:
        columns["scan_status"] = str(ScanStatus.SCANNING)
    if columns:
        run_state.change(conn, run.id, now, **columns)
    if run.status is RunStatus.QUEUED and what is Event.LEASED:
        run_state.change_work(conn, run.id, progressed_at=now)
        run_log.tell(conn, run.id, "An agent took up the run.", now)


def _count(conn: Connection, run: RunState, progress: Progress, now: float) -> None:
    run.counters.merge(progress.counters)
    _moved(conn, run, Event.COMMITTED, now)
    run_state.change(conn, run.id, now, counters=run.counters.to_json())
    metrics.count(conn, run.id, progress.counters, now)
    run_state.change_work(conn, run.id, progressed_at=now)


def _name_segments(conn: Connection, run: str, partition: Partition, named: tuple[SegmentName, ...]) -> None:
    place = f"{run}/{partition.id}/{partition.epoch}/"
    for one in named:
        if not one.name.startswith(place) or one.rows < 0:
            raise ApiError(
                400, "InvalidSegment", f"A commit of this lease may only name segments in '{place}'."
            )
    names = [one.name for one in named]
    known = conn.execute(select(segments.c.id).where(segments.c.name.in_(names)).limit(1)).first()
    if known is not None or len(set(names)) < len(names):
        raise ApiError(400, "InvalidSegment", "A segment may be named once.")
    if named:
        conn.execute(insert(segments), [{"run": run, "name": one.name, "rows": one.rows} for one in named])
