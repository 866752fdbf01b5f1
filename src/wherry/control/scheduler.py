"""The duty of firing schedules: looks for what is due, and lets `services.firings` see to it, a transaction each.

Runs in every replica; the database decides which of them fires.  It sleeps until the next moment, never longer than
`schedule_seconds`, so that a clock that jumps or a schedule that somebody else enabled is seen.  Lives as long as the
application (`areas.CONTEXTS`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from wherry.control.plane import Plane
from wherry.control.services import firings
from wherry.model.errors import WherryError

log = logging.getLogger("wherry.control")

_SHORTEST = 0.05


@asynccontextmanager
async def running(plane: Plane) -> AsyncIterator[None]:
    """Fire schedules while the application lives."""
    stop = asyncio.Event()
    task = asyncio.create_task(_run(plane, stop))
    try:
        yield
    finally:
        # Never cancelled: what has been begun is ended.
        stop.set()
        await task


async def look(plane: Plane) -> None:
    """One round: what a clock put back has made wrong, what is due, what has waited."""
    for find, deed in (
        (_put_back, firings.reckon_anew),
        (firings.due, firings.fire),
        (_waiting, firings.resume),
    ):
        for job in await plane.database.read(find, plane.clock()):
            await _see_to(plane, deed, job)


async def _see_to(plane: Plane, deed: Callable[[Connection, str, float], None], job: str) -> None:
    try:
        await plane.database.write(deed, job, plane.clock())
    except OperationalError:
        raise
    except (SQLAlchemyError, WherryError, LookupError, ValueError):
        # One job that is odd must not keep all others from being started.
        log.exception("the schedule of a job could not be seen to", extra={"job": job})


async def _run(plane: Plane, stop: asyncio.Event) -> None:
    plane.pulse.expect("schedules", plane.settings.schedule_seconds, plane.clock())
    while not stop.is_set():
        pause = plane.settings.schedule_seconds
        try:
            await look(plane)
            due = await plane.database.read(firings.next_due)
            plane.pulse.done("schedules", plane.clock())
        except OperationalError as trouble:
            # A locked or full database: what is due stays due.
            log.warning("schedules are put off", extra={"reason": str(trouble.orig)})
        else:
            if due is not None:
                pause = min(pause, max(_SHORTEST, due - plane.clock()))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)


def _put_back(conn: Connection, now: float) -> list[str]:
    return firings.put_back(conn, now)


def _waiting(conn: Connection, _now: float) -> list[str]:
    return firings.waiting(conn)
