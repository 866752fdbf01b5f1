"""Role definitions and assignments as the API has them: requests checked, rows rendered.

The rules of assignments themselves are in `role_assignments`; who may write one at a scope was decided before.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Row, select

from wherry.control.caller import Caller
from wherry.control.db.tables_identity import principals
from wherry.control.services import memberships, role_assignments, scopes
from wherry.control.services.resource_store import Json
from wherry.control.services.types.schema import Field, invalid, read
from wherry.model import ids
from wherry.model.errors import ApiError
from wherry.model.outcomes import iso_time
from wherry.trust.roles import ROLES, Role

PROVIDER = "Microsoft.Authorization"
_DEFINITION = re.compile(
    rf"(?:.*/)?providers/{re.escape(PROVIDER)}/roleDefinitions/(?P<guid>[^/]+)", re.IGNORECASE
)
_FILTER = re.compile(
    r"(?P<at>atScope\(\))|assignedTo\('(?P<to>[^']+)'\)|principalId eq '(?P<principal>[^']+)'", re.IGNORECASE
)
_ROLE_FILTER = re.compile(
    r"roleName eq '(?P<name>[^']*)'|type eq '(?P<type>[^']*)'|(?P<at>atScope\(\))", re.IGNORECASE
)
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)

_FIELDS = (
    Field("roleDefinitionId", required=True),
    Field("principalId", required=True, pattern=ids.GUID),
    Field("principalType", choices=("User", "Group", "ServicePrincipal", "ForeignGroup", "Device")),
    Field("description"),
    Field("condition", longest=8192),
)


def put(
    conn: Connection, caller: Caller, scope: str, name: str, body: Json, subscription: str
) -> tuple[Json, bool]:
    """Assign a role; the assignment, and whether it is new.  A repeat changes condition and description only."""
    told = read(_FIELDS, body.get("properties"), "properties")
    role = _role_of(told["roleDefinitionId"])
    where = scopes.canonical(conn, scope, subscription)
    principal = told["principalId"].lower()
    old = role_assignments.get(conn, name)
    same = old is not None and (old.principal_id, old.role, old.scope_key) == (
        principal,
        role,
        ids.key(where),
    )
    details = {"condition": told.get("condition"), "description": told.get("description")}
    if old is not None and same:
        if (old.condition, old.description) != (details["condition"], details["description"]):
            role_assignments.change(conn, name, by=caller.principal.oid, now=caller.now, **details)
        return _found(conn, name), False
    role_assignments.create(
        conn, role=role, principal_id=principal, principal_type=told.get("principalType") or _kind(conn, principal),
        scope=where, by=caller.principal.oid, now=caller.now, name=name, **details,
    )  # fmt: skip
    return _found(conn, name), True


def get(conn: Connection, scope: str, name: str) -> Json:
    """An assignment that was made at exactly this scope."""
    row = role_assignments.get(conn, name)
    if row is None or row.scope_key != ids.key(scope):
        raise ApiError(404, "RoleAssignmentNotFound", f"The role assignment '{name}' is not found.")
    return render(row)


def delete(conn: Connection, scope: str, name: str) -> Json | None:
    """Remove an assignment that was made at exactly this scope; what it was, None for nothing."""
    row = role_assignments.get(conn, name)
    if row is None or row.scope_key != ids.key(scope):
        return None
    role_assignments.remove(conn, name)
    return render(row)


def list_at(conn: Connection, scope: str, told: str) -> list[Json]:
    """Assignments that matter at a scope: made there, above and below; `atScope()` leaves out those below."""
    below, wanted = True, frozenset[str]()
    for part in _AND.split(told) if told else []:
        match = _FILTER.fullmatch(part.strip())
        if match is None:
            raise _bad_filter(told)
        below = below and not match["at"]
        if match["principal"]:
            wanted = frozenset({match["principal"].lower()})
        elif match["to"]:
            # To a principal is assigned what is assigned to its groups.
            wanted = memberships.groups_of(conn, match["to"].lower()) | {match["to"].lower()}
    rows = role_assignments.at_scope(conn, scope, below=below)
    return [render(row) for row in rows if not wanted or row.principal_id in wanted]


def definitions(scope: str, told: str) -> list[Json]:
    """Role definitions, all or those of a name or kind."""
    roles = list(ROLES.values())
    for part in _AND.split(told) if told else []:
        match = _ROLE_FILTER.fullmatch(part.strip())
        if match is None:
            raise _bad_filter(told)
        if match["name"] is not None:
            roles = [role for role in roles if role.name.lower() == match["name"].lower()]
        if match["type"] is not None:
            roles = [role for role in roles if _type(role).lower() == match["type"].lower()]
    return [render_role(scope, role) for role in roles]


def definition(scope: str, guid: str) -> Json:
    """A role definition by its GUID."""
    role = ROLES.get(guid.lower())
    if role is None:
        raise ApiError(404, "RoleDefinitionDoesNotExist", f"The role definition '{guid}' does not exist.")
    return render_role(scope, role)


def render(row: Row[Any]) -> Json:
    """An assignment as it is answered."""
    scope = row.scope.rstrip("/")
    properties = {
        "roleDefinitionId": _definition_id(scope, row.role),
        "principalId": row.principal_id,
        "principalType": row.principal_type,
        "scope": scope or "/",
        "condition": row.condition,
        "conditionVersion": row.condition_version,
        "description": row.description,
        "createdOn": iso_time(row.created_at),
        "updatedOn": iso_time(row.updated_at),
        "createdBy": row.created_by,
        "updatedBy": row.updated_by,
    }
    return {
        "id": f"{scope}/providers/{PROVIDER}/roleAssignments/{row.name}",
        "type": f"{PROVIDER}/roleAssignments",
        "name": row.name,
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def render_role(scope: str, role: Role) -> Json:
    """A role definition as it is answered."""
    return {
        "id": _definition_id(scope, role.guid),
        "type": f"{PROVIDER}/roleDefinitions",
        "name": role.guid,
        "properties": {
            "roleName": role.name,
            "type": _type(role),
            "description": role.description,
            "assignableScopes": ["/"],
            "permissions": [
                {
                    "actions": list(role.actions),
                    "notActions": list(role.not_actions),
                    "dataActions": list(role.data_actions),
                    "notDataActions": list(role.not_data_actions),
                }
            ],
        },
    }


def _definition_id(scope: str, guid: str) -> str:
    # Definitions belong to a subscription, whatever lies below it.
    return f"{'/'.join(scope.split('/')[:3]).rstrip('/')}/providers/{PROVIDER}/roleDefinitions/{guid}"


def _type(role: Role) -> str:
    return "CustomRole" if role.custom else "BuiltInRole"


def _role_of(definition_id: str) -> str:
    match = _DEFINITION.fullmatch(definition_id)
    guid = (match["guid"] if match else definition_id).lower()
    if guid not in ROLES:
        raise ApiError(
            404, "RoleDefinitionDoesNotExist", f"The role definition '{definition_id}' does not exist."
        )
    return guid


def _kind(conn: Connection, principal: str) -> str:
    kind = conn.execute(select(principals.c.kind).where(principals.c.oid == principal)).scalar()
    return role_assignments.TYPES.get(kind or "", "ServicePrincipal")


def _found(conn: Connection, name: str) -> Json:
    row = role_assignments.get(conn, name)
    if row is None:
        raise LookupError(name)
    return render(row)


def _bad_filter(told: str) -> ApiError:
    return invalid("$filter", f"The filter '{told[:100]}' is not known here.", "InvalidFilter")
