"""What the control plane does by itself: keys that rotate, expired rows that go, counters that are written.

Lives as long as the application (`areas.CONTEXTS`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio.to_thread
from sqlalchemy import Connection, delete
from sqlalchemy.exc import OperationalError

from wherry.control import audit_state, bundles, deployment
from wherry.control.db.tables_identity import (
    attempts,
    device_codes,
    enrolments,
    refresh_families,
    seen_proofs,
    sessions,
)
from wherry.control.plane import Plane
from wherry.control.services import metrics, signing, standing, vault_secrets

log = logging.getLogger("wherry.control")

EVERY = 60.0
_KEPT = 3600.0
_DAY = 86400.0


@asynccontextmanager
async def running(plane: Plane) -> AsyncIterator[None]:
    """Do the duties every minute while the application lives; at its end write all counts and sign the trail."""
    if not await audit_state.reconcile(plane):
        log.error("the audit trail does not go on from audit.head: see its record wherry/audit/discontinuity")
        held = await plane.database.write(
            standing.withdraw, plane.master, _read_standing(plane), plane.clock()
        )
        log.error("all tokens are void, and what had been taken away is taken away again: %d", held)
    await keep_standing(plane)
    stop = asyncio.Event()
    task = asyncio.create_task(_run(plane, stop))
    try:
        yield
    finally:
        # Never cancelled: what a duty has changed in the database must reach the files beside it.
        stop.set()
        await task
        await plane.database.write(plane.counters.flush, plane.clock(), everything=True)
        await audit_state.seal(plane)
        await keep_standing(plane)


async def keep_standing(plane: Plane) -> None:
    """Tell the file beside the database what is in force now."""
    told = await plane.database.read(standing.now_in_force)
    if plane.state is not None and told != _read_standing(plane):
        await anyio.to_thread.run_sync(deployment.replace, plane.state / standing.FILE, told.encode())


def _read_standing(plane: Plane) -> str | None:
    file = None if plane.state is None else plane.state / standing.FILE
    return file.read_text() if file is not None and file.exists() else None


def tidy(conn: Connection, now: float) -> None:
    """Remove rows that can have no effect any more; used codes stay an hour, so that reuse is told from guessing."""
    for table, column in (
        (device_codes, device_codes.c.expires_at),
        (enrolments, enrolments.c.expires_at),
        (refresh_families, refresh_families.c.expires_at),
        (attempts, attempts.c.window_at),
    ):
        conn.execute(delete(table).where(column < now - _KEPT))
    conn.execute(delete(sessions).where(sessions.c.expires_at < now))
    # A clock that was ahead for a while and is set back must find what it has forgotten still there.
    conn.execute(delete(seen_proofs).where(seen_proofs.c.expires_at < now - _DAY))


async def _run(plane: Plane, stop: asyncio.Event) -> None:
    plane.pulse.expect("housekeeping", EVERY, plane.clock())
    while not stop.is_set():
        try:
            await plane.database.write(tidy, plane.clock())
            await plane.database.write(vault_secrets.purge_due, plane.clock())
            await plane.database.write(plane.counters.flush, plane.clock())
            await audit_state.seal(plane)
            await keep_standing(plane)
            await bundles.tidy(plane)
            await plane.database.write(signing.rotate, plane.master, plane.clock())
            await plane.database.write(metrics.forget_minutes, plane.clock())
            plane.pulse.done("housekeeping", plane.clock())
        except OperationalError as trouble:
            # A locked or full database: the next minute tries again.
            log.warning("housekeeping is put off", extra={"reason": str(trouble.orig)})
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY)
