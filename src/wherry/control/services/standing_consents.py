"""Consents to all runs of a job until a day, by who may let agents into its target, for those who may only start it.

As resources: `…/jobDefinitions/{job}/consents/{id}`.  What is consented to is the job as it is: its target, the role
that its mode needs, its agent or group.  A job that is changed in one of these needs another consent.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from wherry.control.caller import Caller
from wherry.control.db.tables_identity import principals
from wherry.control.services import consents, runs
from wherry.control.services.resource_store import Json, Resource
from wherry.model.errors import ApiError
from wherry.model.outcomes import iso_time
from wherry.trust.roles import ROLES

LONGEST_DAYS = 366
_DAY = 86400.0


def give(conn: Connection, caller: Caller, job: Resource, until: float) -> Json:
    """Consent to every start of a job until then; 403 unless the caller may assign roles at its target."""
    if not caller.now < until <= caller.now + LONGEST_DAYS * _DAY:
        raise ApiError(
            400, "InvalidProperty", f"A consent ends within {LONGEST_DAYS} days from now.", "properties.until"
        )
    found = runs.survey(conn, job.key)
    caller.authorize(conn, consents.ASSIGN, found.target.scope)
    consents.record(
        conn, run="", job_key=job.key, scope=found.target.scope, role=found.role.guid, agents=found.workers.key,
        author=caller.principal.oid, now=caller.now, until=until,
    )  # fmt: skip
    return render(conn, job, consents.of_job(conn, job.key, caller.now)[0])


def list_of(conn: Connection, job: Resource, now: float) -> list[Json]:
    """Those in force."""
    return [render(conn, job, row) for row in consents.of_job(conn, job.key, now)]


def withdraw(conn: Connection, caller: Caller, job: Resource, name: str) -> bool:
    """End one, by who gave it or who may remove assignments at its target; False when there is none of this name.

    Runs that rest on it get no new access, and lose what they have when their present grant ends.
    """
    for row in consents.of_job(conn, job.key, caller.now):
        if row.id == name.lower():
            if row.author != caller.principal.oid:
                caller.authorize(conn, "Microsoft.Authorization/roleAssignments/delete", row.scope)
            consents.end(conn, row.id, caller.now)
            return True
    return False


def render(conn: Connection, job: Resource, row: Row[Any]) -> Json:
    """A standing consent as it is answered."""
    author = conn.execute(select(principals.c.name).where(principals.c.oid == row.author)).scalar()
    return {
        "id": f"{job.id}/consents/{row.id}",
        "name": row.id,
        "type": "microsoft.storagemover/storagemovers/projects/jobdefinitions/consents",
        "properties": {
            "use": "Schedule" if row.run == consents.SCHEDULE else "AnyStart",
            "scope": row.scope,
            "roleName": ROLES[row.role].name,
            "agents": row.agents.rpartition("/")[2],
            "author": row.author,
            "authorName": author,
            "createdAt": iso_time(row.created_at),
            "until": iso_time(row.until_at),
        },
    }
