"""Long-running operations, as their starter polls them.

The work of a delete is done inside its request, so its operation has succeeded when it is first seen.  Only
who started an operation sees it.  Records older than a day are forgotten.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, delete, insert, select

from wherry.control.caller import Caller
from wherry.control.db.tables_resources import operations
from wherry.control.services.resource_store import Json
from wherry.model.errors import ApiError
from wherry.model.outcomes import iso_time

_KEPT_SECONDS = 86400.0


def succeeded(conn: Connection, caller: Caller, resource_id: str) -> str:
    """Record an operation that is done; answers its id."""
    conn.execute(delete(operations).where(operations.c.started_at < caller.now - _KEPT_SECONDS))
    made = str(uuid.uuid4())
    conn.execute(
        insert(operations).values(
            id=made, resource_id=resource_id, principal=caller.principal.oid, status="Succeeded",
            started_at=caller.now, ended_at=caller.now,
        )
    )  # fmt: skip
    return made


def get(conn: Connection, caller: Caller, operation_id: str, status_id: str) -> Json:
    """The state of an operation; `status_id` is the id of the state itself.  404 for everybody but its starter."""
    row = conn.execute(
        select(operations).where(
            operations.c.id == operation_id.lower(), operations.c.principal == caller.principal.oid
        )
    ).first()
    if row is None:
        raise ApiError(404, "OperationNotFound", f"The operation '{operation_id}' could not be found.")
    told: Json = {
        "id": status_id,
        "name": row.id,
        "resourceId": row.resource_id,
        "status": row.status,
        "startTime": iso_time(row.started_at),
    }
    return told | ({"endTime": iso_time(row.ended_at), "properties": None} if row.ended_at else {})
