"""Consents: who allowed which job to which target, in which role, for which agent or group.

Made by `services.runs` in the name of whoever starts a job and may assign roles at the exact target; every grant cites
one.  Who may do that can consent beforehand, until a day, to all starts of a job by whoever may start it
(`services.standing_consents`): a start by others then rests on that, as long as job, target, role and agents are what
was consented to.  Whoever enables a job's schedule consents to the runs that it starts (`services.schedules`).  The
right of its author is asked again at each use: the service has no power of its own to give.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, select, update

from wherry.control import authorization
from wherry.control.db.tables_ledger import consents
from wherry.model import ids
from wherry.model.errors import RunError

ASSIGN = "Microsoft.Authorization/roleAssignments/write"
SCHEDULE = "schedule"
"""What stands in place of a run in the consent of whoever enabled a job's schedule: good for runs that it starts."""

_OF_ANY = ("", SCHEDULE)


def record(  # noqa: PLR0913 - the columns of a consent
    conn: Connection, *, run: str, job_key: str, scope: str, role: str, agents: str, author: str, now: float,
    standing: str | None = None, until: float | None = None,
) -> str:  # fmt: skip
    """Write a consent down, of one run or (`run` empty, or `SCHEDULE`) of many until a time; answers its id."""
    consent = str(uuid.uuid4())
    conn.execute(
        insert(consents).values(
            id=consent, job_key=job_key, run=run, scope=scope, role=role, agents=agents, author=author,
            standing=standing, created_at=now, until_at=until,
        )
    )  # fmt: skip
    return consent


def of_run(conn: Connection, run: str) -> Row[Any] | None:
    """The consent that a run rests on; None when it needed none, or when it has ended."""
    return conn.execute(select(consents).where(consents.c.run == run, consents.c.ended_at.is_(None))).first()


def of_job(conn: Connection, job_key: str, now: float) -> list[Row[Any]]:
    """The consents that stand for all runs of a job, or for those of its schedule; the latest first."""
    mine = (consents.c.job_key == job_key) & consents.c.run.in_(_OF_ANY)
    return list(
        conn.execute(
            select(consents).where(mine, _in_force(now)).order_by(consents.c.created_at.desc(), consents.c.id)
        )
    )


def standing(conn: Connection, now: float) -> list[Row[Any]]:
    """All that stand for the runs of any job, the one that ends first in front."""
    every = consents.c.run.in_(_OF_ANY) & _in_force(now)
    return list(conn.execute(select(consents).where(every).order_by(consents.c.until_at, consents.c.id)))


def find_standing(
    conn: Connection, job_key: str, scope: str, role: str, agents: str, now: float, *, scheduled: bool = False
) -> Row[Any] | None:
    """A consent to exactly this, whose author still has the right; the one of a schedule is good for its runs alone."""
    for row in of_job(conn, job_key, now):
        if row.run == SCHEDULE and not scheduled:
            continue
        same = (ids.key(row.scope), row.role, row.agents) == (ids.key(scope), role, agents)
        if same and authorization.decide_for(conn, row.author, ASSIGN, row.scope, now).allowed:
            return row
    return None


def end(conn: Connection, consent: str, now: float) -> None:
    """Nothing rests on a consent any more."""
    conn.execute(
        update(consents).where(consents.c.id == consent, consents.c.ended_at.is_(None)).values(ended_at=now)
    )


def end_standing(conn: Connection, now: float, *, job_key: str = "", agents: str = "") -> None:
    """End those for a job that is deleted, or for an agent that is unregistered: others may get their names."""
    whose = consents.c.job_key == job_key if job_key else consents.c.agents == agents
    conn.execute(
        update(consents)
        .where(consents.c.run.in_(_OF_ANY), whose, consents.c.ended_at.is_(None))
        .values(ended_at=now)
    )


def end_schedule(conn: Connection, job_key: str, now: float) -> None:
    """End what was consented to by enabling a job's schedule.

    A run that it has started goes on, by the right of who consented.
    """
    held = select(consents.c.id).where(
        consents.c.run == SCHEDULE, consents.c.job_key == job_key, consents.c.ended_at.is_(None)
    )
    conn.execute(update(consents).where(consents.c.standing.in_(held)).values(standing=None))
    conn.execute(
        update(consents)
        .where(consents.c.run == SCHEDULE, consents.c.job_key == job_key, consents.c.ended_at.is_(None))
        .values(ended_at=now)
    )


def require(conn: Connection, run: str, now: float) -> Row[Any]:
    """The consent of a run whose author still has the right; AZSM1024 otherwise."""
    consent = of_run(conn, run)
    if consent is None:
        raise RunError("AZSM1024", "Nobody who may assign roles there has consented to this run.")
    if consent.standing is not None:
        basis = select(consents.c.id).where(consents.c.id == consent.standing, _in_force(now))
        if conn.execute(basis).first() is None:
            raise RunError("AZSM1024", "The consent to all runs of this job has ended.")
    decision = authorization.decide_for(conn, consent.author, ASSIGN, consent.scope, now)
    if not decision.allowed:
        raise RunError("AZSM1024", f"Who consented may not assign roles there any more: {decision.reason}.")
    return consent


def end_run(conn: Connection, run: str, now: float) -> None:
    """The consent of a run ends with it."""
    conn.execute(
        update(consents).where(consents.c.run == run, consents.c.ended_at.is_(None)).values(ended_at=now)
    )


def _in_force(now: float) -> ColumnElement[bool]:
    return and_(consents.c.ended_at.is_(None), consents.c.until_at > now)
