"""Job runs as the resource API shows them, and the questions that resources ask about runs.

Reads table `runs`; whoever changes runs is `services.runs`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select, tuple_

from wherry.control.db.tables_credentials import run_credentials
from wherry.control.db.tables_ledger import grant_uses, run_work
from wherry.control.db.tables_runs import runs
from wherry.control.services import bandwidth, credentials
from wherry.control.services.resource_store import Json
from wherry.model import ids
from wherry.model.drivers import BLOB_SAS
from wherry.model.outcomes import COUNTERS, iso_time
from wherry.model.run import TERMINAL, ScanStatus

TYPE = "microsoft.storagemover/storagemovers/projects/jobdefinitions/jobruns"

_ACCESS = {
    "opening": "Opening",
    "live": "Open",
    "withdrawing": "PendingRevocation",
    "withdrawn": "Ended",
}
_ENDED = tuple(status.value for status in TERMINAL)


def render_run(row: Row[Any], access: Json | None = None, status: str = "") -> Json:
    """A row of `runs` as a resource of type jobRuns; what has no value yet is left out.

    `access` is what `access_of` tells of the run, `status` what it is shown as instead of what is written.
    """
    mover = row.resource_id.lower().rpartition("/projects/")[0]
    properties: Json = {
        "status": status or row.status,
        "scanStatus": row.scan_status if row.scan_status != ScanStatus.NOT_STARTED else None,
        "agentName": row.agent_name,
        "agentResourceId": f"{row.resource_id[: len(mover)]}/agents/{row.agent_name}"
        if row.agent_name
        else None,
        "executionStartTime": _time(row.started_at),
        "executionEndTime": _time(row.ended_at),
        "triggerType": row.trigger if row.trigger != "Manual" else None,
        "scheduledExecutionTime": _time(row.scheduled_at),
        "lastStatusUpdate": _time(row.updated_at),
        **_counters(row.counters),
        "sourceName": row.source_name,
        "sourceResourceId": row.source_id,
        "sourceProperties": row.source_properties,
        "targetName": row.target_name,
        "targetResourceId": row.target_id,
        "targetProperties": row.target_properties,
        "jobDefinitionProperties": row.job_properties,
        "error": {"code": row.error_code, "message": row.error_message or ""} if row.error_code else None,
        "warnings": row.warnings or None,
        "wherry": _wherry(row, access),
        "provisioningState": "Succeeded",
    }
    return {
        "id": row.resource_id,
        "name": row.name,
        "type": TYPE,
        "systemData": _system_data(row),
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def shown(conn: Connection, row: Row[Any]) -> Json:
    """A run with its access, paused while the agents that work on it are."""
    return render_run(row, access_of(conn, row.id), bandwidth.status_of(conn, row))


def get_run(conn: Connection, run_id: str) -> Row[Any] | None:
    """The run of this resource id in any casing."""
    return conn.execute(select(runs).where(runs.c.key == ids.key(run_id))).first()


def list_runs(
    conn: Connection, job_key: str, *, after: tuple[float, str] | None = None, limit: int | None = None
) -> list[Row[Any]]:
    """Runs of a job, the latest first, from behind `after` (time of creation, GUID)."""
    query = select(runs).where(runs.c.job_key == job_key)
    if after is not None:
        query = query.where(tuple_(runs.c.created_at, runs.c.id) < after)
    return list(conn.execute(query.order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(limit)))


def latest_run(conn: Connection, job_key: str) -> Row[Any] | None:
    """The run of a job that was started last."""
    return next(iter(list_runs(conn, job_key, limit=1)), None)


def active_run(conn: Connection, *, job_key: str | None = None, endpoint: str | None = None) -> str | None:
    """The id of a run of that job, or that uses that endpoint, which has not ended."""
    query = select(runs.c.resource_id).where(runs.c.status.not_in(_ENDED))
    if job_key is not None:
        query = query.where(runs.c.job_key == job_key)
    if endpoint is not None:
        key = ids.key(endpoint)
        query = query.where((func.lower(runs.c.source_id) == key) | (func.lower(runs.c.target_id) == key))
    return conn.execute(query.limit(1)).scalar()


def run_into(conn: Connection, scope_key: str, now: float) -> str | None:
    """A run that may write at `scope_key` or below: it has not ended, or its access is still to be taken back.

    What could not be taken back in time has ended by itself with the expiry of its credential.
    """
    going = (
        select(runs.c.id, run_work.c.scope)
        .join(run_work, run_work.c.run == runs.c.id)
        .where(runs.c.status.not_in(_ENDED))
    )
    standing = select(run_credentials.c.run, run_credentials.c.scope).where(
        run_credentials.c.state != "withdrawn", run_credentials.c.expires_at > now
    )
    found = [*conn.execute(going), *conn.execute(standing)]
    return next((str(run) for run, scope in found if ids.contains(scope_key, scope)), None)


def _system_data(row: Row[Any]) -> Json:
    return {
        "createdBy": row.created_by,
        "createdByType": row.created_by_type,
        "createdAt": iso_time(row.created_at),
        "lastModifiedBy": row.created_by,
        "lastModifiedByType": row.created_by_type,
        "lastModifiedAt": iso_time(row.updated_at),
    }


def _counters(counted: dict[str, list[int]]) -> Json:
    if not counted:
        return {}
    shown: Json = {}
    for name in COUNTERS:
        if name != "Deleted":
            shown[f"items{name}"], shown[f"bytes{name}"] = counted.get(name, [0, 0])
    return shown


def access_of(conn: Connection, run: str) -> Json:
    """What a run may touch: the scope that is really enforced, and whether access stands, is being taken back or ended.

    `roleAssignments` are the names of those made for this run that still stand.
    """
    scope = conn.execute(select(run_work.c.scope).where(run_work.c.run == run)).scalar()
    made = conn.execute(select(grant_uses.c.assignment).where(grant_uses.c.run == run)).scalars().all()
    known = credentials.of_run(conn, run)
    told: Json = {"enforcedScope": scope, "accessState": "Open" if made else "None"}
    if made:
        told["roleAssignments"] = list(made)
    if known is not None:
        told |= {
            "credential": known.id,
            "credentialDriver": known.driver,
            "accessState": _ACCESS[known.state],
        }
        if known.driver == BLOB_SAS.name:
            told["accessPolicy"] = known.id
        if known.ended_at is not None:
            told["accessEndTime"] = _time(known.ended_at)
    return {name: value for name, value in told.items() if value is not None}


def _wherry(row: Row[Any], access: Json | None) -> Json | None:
    told: Json = dict(access or {})
    if "Deleted" in row.counters:
        told["itemsDeleted"], told["bytesDeleted"] = row.counters["Deleted"]
    if row.options:
        told["options"] = row.options
    return told or None


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else iso_time(seconds)
