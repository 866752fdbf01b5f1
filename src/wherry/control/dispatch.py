"""Dispatch: from an agent that asks for work to a lease, and everything that has to be there before it.

A lease needs the run's turn, the agent's grant and, for what is no folder, a credential that works.  To make
one is a call over the network, so a lease is made in three steps; each leaves a state that the reaper can clear up.
Lives as long as the application, in `plane.parts`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, select

from wherry.control import reaper
from wherry.control.broker import registry
from wherry.control.broker.credentials import Broker
from wherry.control.broker.port import NoSlot
from wherry.control.db.tables_ledger import run_work
from wherry.control.db.tables_runs import runs
from wherry.control.logs import LogStore
from wherry.control.plane import Plane
from wherry.control.services import (
    claims,
    credentials,
    grants,
    ledger,
    partition_rows,
    presence,
    run_end,
    run_log,
    run_state,
)
from wherry.control.services.ledger import Holder, Terms
from wherry.control.wakeups import Wakeups
from wherry.model import run as life
from wherry.model.errors import CODES, ApiError, RunError, Unavailable
from wherry.model.wire import Grant

log = logging.getLogger("wherry.control")


class Dispatch:
    """Gives out leases.  One a process."""

    def __init__(self, plane: Plane, logs: LogStore, broker: Broker, wakeups: Wakeups) -> None:
        self.logs = logs
        self.broker = broker
        self.wakeups = wakeups
        self._plane = plane
        self._database = plane.database
        self._settings = plane.settings

    async def take(self, holder: Holder, wait: float, gone: Callable[[], Awaitable[bool]]) -> Grant | None:
        """A lease for an agent, waiting for one at most `wait` seconds; none for one that is `gone` meanwhile."""
        deadline = time.monotonic() + wait
        waiting = None
        try:
            while True:
                ticket = self.wakeups.ticket()
                if await gone():
                    return None
                grant = await self._take(holder)
                left = deadline - time.monotonic()
                if grant is not None or left <= 0 or self._plane.stopping.is_set():
                    return grant
                if waiting is None:
                    now = self._plane.clock()
                    waiting = await self._database.write(presence.begin_wait, holder.key, now, now + left)
                await self.wakeups.wait(ticket, min(left, self._settings.database_poll_seconds))
        finally:
            if waiting is not None:
                await self._database.write(presence.end_wait, waiting)

    async def _take(self, holder: Holder) -> Grant | None:
        for run in await self._database.read(candidates, holder, self._plane.clock()):
            if not await self._database.write(self._admit, run, holder):
                continue
            if not await self._open(run, holder):
                continue
            terms = Terms(self._plane.clock(), self._settings.lease_seconds)
            grant = await self._database.write(ledger.lease, holder, run, terms)
            if grant is not None:
                return grant
        return None

    def _admit(self, conn: Connection, run_id: str, holder: Holder) -> bool:
        """Whether the agent may work on the run; makes its grant.  A run that nobody may let in ends."""
        now = self._plane.clock()
        run = run_state.load(conn, run_id)
        if run is None or str(run.status) not in run_state.LEASABLE:
            return False
        if presence.oid_of(conn, holder.key) != holder.oid or partition_rows.next_free(conn, run.id) is None:
            return False
        try:
            claims.cover(conn, run.id, run.target, holder.key)
            grants.ensure(conn, run, holder.oid, now, self._settings.grant_seconds)
        except RunError as refused:
            run_end.finish(conn, run, life.failed(refused.code, refused.detail), now)
            return False
        return True

    async def _open(self, run: str, holder: Holder) -> bool:
        """Whether the run's target is open; a run that has to wait for it gives its grant back."""
        if not await self._database.read(_needs_credential, run):
            return True
        try:
            await self.broker.open(run)
        except NoSlot as full:
            await self._database.write(self._put_off, run, holder, full.code, str(full))
        except RunError as refused:
            await self._database.write(self._fail, run, refused)
        except Unavailable as passing:
            await self._database.write(self._put_off, run, holder, "AZSM1031", _say("AZSM1031", str(passing)))
        except ApiError as gone:
            await self._database.write(self._fail, run, RunError("AZSM1022", gone.message))
        else:
            return True
        return False

    def _put_off(self, conn: Connection, run_id: str, holder: Holder, code: str, why: str) -> None:
        now = self._plane.clock()
        run = run_state.load(conn, run_id)
        if run is None or run.ended:
            return
        grants.let_go(conn, run.id, holder.oid, now)
        run_state.change_work(
            conn, run.id, put_off=code, not_before_at=now + self._settings.policy_retry_seconds
        )
        if run.put_off != code:
            run_log.warn(conn, run.id, code, why, now)

    def _fail(self, conn: Connection, run_id: str, refused: RunError) -> None:
        run = run_state.load(conn, run_id)
        if run is not None:
            run_end.finish(conn, run, life.failed(refused.code, refused.detail), self._plane.clock())


def candidates(conn: Connection, holder: Holder, now: float) -> list[str]:
    """Runs that have work for an agent, the one that was served longest ago first."""
    mover = holder.key.rpartition("/agents/")[0]
    rows = conn.execute(
        run_state.query()
        .where(runs.c.mover_key == mover, runs.c.status.in_(run_state.LEASABLE))
        .where(run_work.c.not_before_at <= now)
        .order_by(run_work.c.served_at, runs.c.created_at)
    )
    states = [run_state.of_row(row) for row in rows]
    return [
        run.id
        for run in states
        if presence.may_work(conn, run, holder.key) and partition_rows.next_free(conn, run.id) is not None
    ]


@asynccontextmanager
async def running(plane: Plane) -> AsyncIterator[None]:
    """Give out leases and clear up, as long as the application lives."""
    if plane.state is None:
        raise LookupError("a control plane that gives out work needs a state directory")
    if plane.database.engine.dialect.name == "sqlite":
        # One process has the state directory to itself.
        await plane.database.write(credentials.unlock_all)
    wakeups = Wakeups(plane.database)
    drivers = registry.of_plane(plane)
    broker = Broker(plane.database, plane.master, plane.settings, plane.clock, drivers)
    dispatch = Dispatch(plane, LogStore(Path(plane.state) / "segments"), broker, wakeups)
    plane.parts[Dispatch] = dispatch
    tasks = [
        asyncio.create_task(reaper.run(plane, broker, wakeups, dispatch.logs)),
        asyncio.create_task(_wake_at_stop(plane, wakeups)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        wakeups.close()


async def _wake_at_stop(plane: Plane, wakeups: Wakeups) -> None:
    await plane.stopping.wait()
    wakeups.wake()


def _needs_credential(conn: Connection, run: str) -> bool:
    query = select(run_work.c.opening).where(run_work.c.run == run)
    return conn.execute(query).scalar() is not None


def _say(code: str, detail: str) -> str:
    return f"{CODES[code].message} {detail}"
