"""The reaper: makes true what time has decided, and clears up after crashes.

Runs at start, then whenever something ends and every `reap_seconds`.  Everything it does is harmless to repeat, and
each step is a transaction of its own, so several replicas may reap at once.  It looks first and writes only when there
is something to do.
"""

from __future__ import annotations

import asyncio
import logging

import anyio.to_thread
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from wherry.control import wakeups as wake
from wherry.control.broker.credentials import Broker
from wherry.control.db.tables_ledger import partitions, run_work
from wherry.control.db.tables_runs import runs
from wherry.control.logs import LogStore
from wherry.control.plane import Plane
from wherry.control.services import grants, lapses, ledger, partition_rows, phases, run_end, run_state
from wherry.control.services.run_state import RunState
from wherry.control.settings import Settings
from wherry.control.wakeups import Wakeups
from wherry.model import run as life
from wherry.model.errors import WherryError
from wherry.model.run import RunStatus

log = logging.getLogger("wherry.control")

_SHORTEST = 0.1


async def run(plane: Plane, broker: Broker, wakeups: Wakeups, logs: LogStore) -> None:
    """Reap until cancelled; what fails now is tried again next time."""
    began = plane.clock()
    plane.pulse.expect("clearing-up", plane.settings.reap_seconds, began)
    await _forget_lost_segments(plane, logs)
    while True:
        ticket = wakeups.ticket()
        try:
            await reap(plane, broker, began)
            plane.pulse.done("clearing-up", plane.clock())
        except (OperationalError, OSError) as trouble:
            log.warning("clearing up is put off", extra={"reason": str(trouble)})
        except (SQLAlchemyError, WherryError, LookupError, ValueError):
            # One run that is odd must not keep the access of all others open.
            log.exception("a round of clearing up failed")
        await asyncio.sleep(_SHORTEST)
        await wakeups.wait(ticket, plane.settings.reap_seconds)


async def reap(plane: Plane, broker: Broker, began: float) -> None:
    """One round.  `began`: since when this process can have heard of agents."""
    database, settings = plane.database, plane.settings
    if await database.read(_overdue, plane.clock()):
        await database.write(ledger.expire, plane.clock(), settings.losses_limit)
    for run_id in await database.read(_doubtful, plane.clock(), began, settings):
        await database.write(judge, run_id, plane.clock(), began, settings)
    if await database.read(_leftovers, plane.clock(), settings):
        await database.write(_clear_up, plane.clock(), settings)
    await _take_back(plane)
    await broker.extend()
    if await broker.withdraw():
        await database.write(_slots_are_free)
    await broker.sweep()


async def _take_back(plane: Plane) -> None:
    """What `lapses` is about, when a right has changed and every `reap_seconds`."""
    database, idle = plane.database, plane.settings.idle_access_seconds
    watch = plane.parts.setdefault(lapses.Watch, lapses.Watch())
    assert isinstance(watch, lapses.Watch)  # noqa: S101 - kept under its own class
    if not watch.is_due(await database.read(lapses.rights), plane.clock(), plane.settings.reap_seconds):
        return
    for run_id in await database.read(lapses.found, plane.clock(), idle):
        await database.write(lapses.settle, run_id, plane.clock(), idle)


def judge(conn: Connection, run_id: str, now: float, began: float, settings: Settings) -> None:
    """End a run that nobody works on any more, or that nobody ever took up."""
    found = run_state.load(conn, run_id)
    if found is None or found.ended or partition_rows.live(conn, run_id, now):
        return
    if found.stopping:
        phases.settle(conn, run_id, now)
    elif found.status is RunStatus.QUEUED:
        if _queued_too_long(found, now, began, settings):
            run_end.finish(conn, found, life.failed("AZSM1042"), now)
    elif max(found.progressed_at, began) + settings.agent_lost_seconds < now:
        run_end.finish(conn, found, life.failed("AZSM1041"), now)


def forget_ended(conn: Connection, before: float) -> None:
    """Remove the partitions of runs that ended long ago; until then a last commit can be repeated."""
    ended = select(runs.c.id).where(runs.c.ended_at < before)
    conn.execute(delete(partitions).where(partitions.c.run.in_(ended)))


def _overdue(conn: Connection, now: float) -> bool:
    late = select(partitions.c.id).where(partitions.c.expires_at > 0, partitions.c.expires_at < now).limit(1)
    return conn.execute(late).first() is not None


def _doubtful(conn: Connection, now: float, began: float, settings: Settings) -> list[str]:
    rows = conn.execute(run_state.query().where(runs.c.status.in_(run_state.ACTIVE)))
    states = [run_state.of_row(row) for row in rows]
    return [
        one.id
        for one in states
        if one.stopping
        or _queued_too_long(one, now, began, settings)
        or max(one.progressed_at, began) + settings.agent_lost_seconds < now
    ]


def _queued_too_long(found: RunState, now: float, began: float, settings: Settings) -> bool:
    # A service that was away cannot say that no agent came.
    heard = now - began > min(settings.agent_lost_seconds, settings.queued_limit_seconds)
    return (
        found.status is RunStatus.QUEUED and found.created_at + settings.queued_limit_seconds < now and heard
    )


def _leftovers(conn: Connection, now: float, settings: Settings) -> bool:
    old = select(partitions.c.id).join(runs, runs.c.id == partitions.c.run)
    old = old.where(runs.c.ended_at < now - settings.keep_partitions_seconds).limit(1)
    return grants.any_due(conn, now, settings.grant_seconds) or conn.execute(old).first() is not None


def _clear_up(conn: Connection, now: float, settings: Settings) -> None:
    grants.prolong(conn, now, settings.grant_seconds)
    grants.reconcile(conn, now)
    forget_ended(conn, now - settings.keep_partitions_seconds)


def _slots_are_free(conn: Connection) -> None:
    conn.execute(update(run_work).where(run_work.c.put_off == "AZSM1035").values(not_before_at=0.0))
    wake.stir(conn)


async def _forget_lost_segments(plane: Plane, logs: LogStore) -> None:
    """Remove the segments of runs that were deleted with their job."""
    known = await plane.database.read(_all_runs)
    for run_id in await anyio.to_thread.run_sync(logs.runs):
        if run_id not in known:
            await anyio.to_thread.run_sync(logs.forget, run_id)


def _all_runs(conn: Connection) -> set[str]:
    return set(conn.execute(select(runs.c.id)).scalars())
