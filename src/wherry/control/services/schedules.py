"""Schedules of jobs that are enabled: who enabled them, and when they are due next.

A schedule is part of its job definition; enabling it takes what starting the job takes, and is the consent to the runs
that it starts (`consents.SCHEDULE`), which ends with it.  Changing a job whose schedule is enabled is enabling it anew.
What happens when one is due is in `services.firings`.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from wherry.control import authorization
from wherry.control.caller import Caller
from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_schedules import firings
from wherry.control.db.tables_schedules import schedules as table
from wherry.control.services import consents, runs
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.runs import Undertaking
from wherry.model.errors import ApiError
from wherry.model.outcomes import iso_time
from wherry.model.schedules import Schedule

DAY = 86400.0
LONGEST_AHEAD_DAYS = 90
LONGEST_DAYS = 366
SHOWN = 5
"""How many moments are shown at which it is due next."""


def settle(
    conn: Connection, caller: Caller, job: Resource, schedule: Schedule | None, before: dict[str, Any]
) -> None:
    """Enable, change or disable the schedule of a job that was written; `before` are its properties until then.

    Raises what a start would raise: 403 for who may not start the job or let its agents in, 400 and 409 for a job that
    cannot run as it is.
    """
    if schedule is None or not job.properties["schedule"].get("isActive"):
        disable(conn, job.key, caller.now)
        return
    row = of_job(conn, job.key)
    if row is None or _told(before) != _told(job.properties):
        same = row is not None and _times(before) == _times(job.properties)
        _enable(conn, caller, job, schedule, row, same=same)


def disable(conn: Connection, job_key: str, now: float) -> None:
    """Nothing is started any more; what was is left alone."""
    conn.execute(delete(table).where(table.c.job_key == job_key))
    consents.end_schedule(conn, job_key, now)


def of_job(conn: Connection, job_key: str, *, lock: bool = False) -> Row[Any] | None:
    """The row of an enabled schedule; with `lock` nobody else changes it until the transaction ends."""
    query = select(table).where(table.c.job_key == job_key)
    return conn.execute(query.with_for_update() if lock else query).first()


def following(conn: Connection, job_key: str, schedule: Schedule, at: float) -> float | None:
    """When a schedule is due next after `at`, but for what has been seen to already; None for never."""
    done = select(firings.c.due_at).where(firings.c.job_key == job_key, firings.c.due_at > at)
    seen = set(conn.execute(done).scalars())
    return next((one for one in schedule.after(at) if one not in seen), None)


def reckon(conn: Connection, job_key: str, schedule: Schedule, at: float, now: float) -> None:
    """Write down when it is due next after `at`."""
    due = following(conn, job_key, schedule, at)
    conn.execute(update(table).where(table.c.job_key == job_key).values(next_at=due, reckoned_at=now))


def view(conn: Connection, job: Resource, schedule: Schedule | None) -> Json:
    """What an answer tells of a job's schedule, under `properties.wherry`."""
    row = of_job(conn, job.key)
    told: Json = {}
    if row is None:
        due = [] if schedule is None else schedule.upcoming(time.time(), SHOWN)
        told["nextRunsWhenEnabled"] = [iso_time(one) for one in due]
    else:
        told["nextRuns"] = [iso_time(one) for one in _next_of(schedule, row.next_at)]
        author = select(principals.c.name).where(principals.c.oid == row.author)
        told["scheduledBy"] = conn.execute(author).scalar() or row.author
        if row.waiting_for is not None:
            told["waitingSince"] = iso_time(row.waiting_for)
    last = select(firings).where(firings.c.job_key == job.key).order_by(firings.c.at.desc()).limit(1)
    found = conn.execute(last).first()
    return told if found is None else told | {"lastFiring": _firing(found)}


def _next_of(schedule: Schedule | None, due: float | None) -> list[float]:
    return [] if schedule is None or due is None else [due, *schedule.upcoming(due, SHOWN - 1)]


def _firing(row: Row[Any]) -> Json:
    told = {"due": iso_time(row.due_at), "outcome": row.outcome}
    if row.run:
        told["jobRunResourceId"] = row.run
    return told | ({"error": {"code": row.code, "message": row.message}} if row.code else {})


def _told(properties: dict[str, Any]) -> dict[str, Any]:
    """What of a job decides about its runs."""
    return {name: value for name, value in properties.items() if name != "description"}


def _times(properties: dict[str, Any]) -> tuple[Any, Any]:
    """What of a job decides when it is due."""
    return properties.get("schedule"), properties.get("wherry", {}).get("timeZone")


def _enable(
    conn: Connection, caller: Caller, job: Resource, schedule: Schedule, row: Row[Any] | None, *, same: bool
) -> None:
    caller.authorize(conn, runs.START, job.id)
    _consent(conn, caller, runs.survey(conn, job.key), same=same)
    at = caller.now
    if row is not None and row.next_at is not None and row.next_at <= at:
        # What is due at this moment, and not seen yet, is not lost by a change that leaves it as it is.
        at = row.next_at - 1
    due = following(conn, job.key, schedule, at)
    if row is None and due is None:
        message = "The last time at which this schedule was due has passed. (property 'properties.schedule')"
        raise ApiError(400, "InvalidProperty", message, "properties.schedule")
    values = {
        "author": caller.principal.oid,
        "next_at": due,
        "reckoned_at": caller.now,
    }
    if row is None:
        conn.execute(insert(table).values(job_key=job.key, **values))
    else:
        conn.execute(update(table).where(table.c.job_key == job.key).values(values))


def _consent(conn: Connection, caller: Caller, found: Undertaking, *, same: bool) -> None:
    """Consent to the runs to come, by who enables it.

    What somebody else has consented to goes on: all starts of just this job, or with the `same` times this schedule.
    """
    role, scope, now = found.role, found.target.scope, caller.now
    if not runs.needs_consent(conn, found, now):
        return
    may = authorization.decide(conn, caller.principal, consents.ASSIGN, scope, now).allowed
    if not may and consents.find_standing(
        conn, found.job.key, scope, role.guid, found.workers.key, now, scheduled=same
    ):
        return
    caller.authorize(conn, consents.ASSIGN, scope)
    consents.end_schedule(conn, found.job.key, now)
    consents.record(
        conn, run=consents.SCHEDULE, job_key=found.job.key, scope=scope, role=role.guid, agents=found.workers.key,
        author=caller.principal.oid, now=now, until=now + LONGEST_DAYS * DAY,
    )  # fmt: skip
