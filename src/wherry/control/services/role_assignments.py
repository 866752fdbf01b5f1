"""Role assignments as rows: what `authorization` decides by and the ARM routes show.

A name is a GUID used once; one (principal, role, scope) is assigned once.  Who may assign is decided before these
functions are called; what they check is that the assignment makes sense.  What loses one is seen at once by the reaper,
which ends the runs that rested on it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from wherry.control import wakeups
from wherry.control.db.tables_identity import principals, role_assignments
from wherry.control.services import memberships, owners
from wherry.model import ids
from wherry.model.errors import ApiError
from wherry.trust import policy
from wherry.trust.policy import Assignment, Facts
from wherry.trust.roles import OWNER, ROLES

TYPES = {"user": "User", "agent": "ServicePrincipal", "service": "ServicePrincipal", "group": "Group"}
"""What role assignments call each kind of principal."""


def create(  # noqa: PLR0913 - the columns of an assignment
    conn: Connection,
    *,
    role: str,
    principal_id: str,
    principal_type: str,
    scope: str,
    by: str,
    now: float,
    name: str | None = None,
    condition: str | None = None,
    description: str | None = None,
) -> str:
    """Assign `role` (GUID) at `scope`; answers the assignment's name.  Errors are those of Azure."""
    name = (name or str(uuid.uuid4())).lower()
    scope_key = ids.key(scope)
    _check(conn, name, role, principal_id, principal_type, condition)
    same = (
        select(role_assignments.c.name)
        .where(role_assignments.c.principal_id == principal_id.lower())
        .where(role_assignments.c.role == role.lower())
        .where(role_assignments.c.scope_key == scope_key)
    )
    if conn.execute(same).first():
        raise ApiError(409, "RoleAssignmentExists", "The role assignment already exists.")
    conn.execute(
        insert(role_assignments).values(
            name=name,
            scope=scope,
            scope_key=scope_key,
            role=role.lower(),
            principal_id=principal_id.lower(),
            principal_type=principal_type,
            description=description,
            condition=condition,
            condition_version=policy.CONDITION_VERSION if condition else None,
            created_at=now,
            created_by=by,
            updated_at=now,
            updated_by=by,
        )
    )
    return name


def change(
    conn: Connection, name: str, *, condition: str | None, description: str | None, by: str, now: float
) -> None:
    """Set condition (a grant's new expiry) and description of an assignment; 404 when there is none."""
    _check_condition(condition)
    row = get(conn, name)
    changed = conn.execute(
        update(role_assignments)
        .where(role_assignments.c.name == name.lower())
        .values(
            condition=condition,
            condition_version=policy.CONDITION_VERSION if condition else None,
            description=description,
            updated_at=now,
            updated_by=by,
        )
    )
    if row is None or not changed.rowcount:
        raise _absent(name)
    wakeups.stir(conn)
    if condition:
        _keep_an_owner(conn, row)


def get(conn: Connection, name: str) -> Row[Any] | None:
    """The row of an assignment, or None."""
    return conn.execute(select(role_assignments).where(role_assignments.c.name == name.lower())).first()


def at_scope(conn: Connection, scope: str, *, below: bool = False) -> list[Row[Any]]:
    """The assignments that hold at `scope` (made there or above), and those below it when asked for."""
    key = ids.key(scope)
    rows = conn.execute(
        select(role_assignments).order_by(role_assignments.c.created_at, role_assignments.c.name)
    )
    return [row for row in rows if ids.contains(row.scope, key) or (below and ids.contains(key, row.scope))]


def of_principal(conn: Connection, principal_id: str) -> list[Assignment]:
    """Everything assigned to a principal itself."""
    return _assigned_to(conn, (principal_id.lower(),))


def facts_of(conn: Connection, principal_id: str, now: float) -> Facts:
    """What `policy.decide` decides by: all that is assigned to a principal and to the groups that it is in."""
    within = memberships.groups_of(conn, principal_id.lower())
    return Facts(_assigned_to(conn, (principal_id.lower(), *within)), now, groups=within)


def remove(conn: Connection, name: str) -> Row[Any] | None:
    """Remove an assignment; answers its last row, None when there was none.  The last owner stays: 400."""
    row = get(conn, name)
    if row is None:
        return None
    conn.execute(delete(role_assignments).where(role_assignments.c.name == name.lower()))
    _keep_an_owner(conn, row)
    wakeups.stir(conn)
    return row


def remove_of_principal(conn: Connection, principal_id: str) -> int:
    """Remove all that a principal was assigned, when it is deleted; answers how many."""
    wakeups.stir(conn)
    return conn.execute(
        delete(role_assignments).where(role_assignments.c.principal_id == principal_id.lower())
    ).rowcount


def remove_below(conn: Connection, scope: str) -> int:
    """Remove what was assigned at `scope` and below it, when that is deleted; answers how many."""
    wakeups.stir(conn)
    key = ids.key(scope)
    # "0" is the character behind "/".
    below = (role_assignments.c.scope_key > key + "/") & (role_assignments.c.scope_key < key + "0")
    return conn.execute(
        delete(role_assignments).where((role_assignments.c.scope_key == key) | below)
    ).rowcount


_OF_HOLDERS = role_assignments.c.principal_id.in_(bindparam("holders", expanding=True))
_ASSIGNED = select(
    role_assignments.c.name, role_assignments.c.principal_id, role_assignments.c.role, role_assignments.c.scope,
    role_assignments.c.condition,
).where(_OF_HOLDERS)  # fmt: skip


def _assigned_to(conn: Connection, holders: Iterable[str]) -> list[Assignment]:
    rows = conn.execute(_ASSIGNED, {"holders": list(holders)})
    return [Assignment(row.name, row.principal_id, row.role, row.scope, row.condition) for row in rows]


def _keep_an_owner(conn: Connection, row: Row[Any]) -> None:
    if row.role == OWNER.guid and not row.scope_key and not row.condition:
        owners.keep_one(conn)


def _check(
    conn: Connection, name: str, role: str, principal_id: str, principal_type: str, condition: str | None
) -> None:
    if not ids.GUID.fullmatch(name):
        raise ApiError(400, "InvalidRoleAssignmentId", f"The role assignment id '{name}' must be a GUID.")
    if get(conn, name):
        raise ApiError(
            400,
            "RoleAssignmentUpdateNotPermitted",
            "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
        )
    if role.lower() not in ROLES:
        raise ApiError(404, "RoleDefinitionDoesNotExist", f"The role definition '{role}' does not exist.")
    found = conn.execute(
        select(principals.c.kind).where(
            principals.c.oid == principal_id.lower(), principals.c.deleted_at.is_(None)
        )
    ).first()
    if found is None:
        raise ApiError(400, "PrincipalNotFound", f"Principal {principal_id} does not exist in the directory.")
    if TYPES[found.kind] != principal_type:
        raise ApiError(
            400,
            "UnmatchedPrincipalType",
            f"The principal type of '{principal_id}' is {TYPES[found.kind]}, not {principal_type}.",
        )
    _check_condition(condition)


def _check_condition(condition: str | None) -> None:
    if condition and policy.expiry(condition) is None:
        raise ApiError(
            400,
            "InvalidCondition",
            "Only conditions of the form (@Environment[UtcNow] DateTimeLessThan 'YYYY-MM-DDThh:mm:ssZ') are known.",
        )


def _absent(name: str) -> ApiError:
    return ApiError(404, "RoleAssignmentNotFound", f"The role assignment '{name}' is not found.")
