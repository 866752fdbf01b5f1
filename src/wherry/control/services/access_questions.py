"""Two questions about access: why may somebody do something, and who can reach a target now, until when and why.

Answers are read from what decides itself: role assignments, grants with their consents, policies that credentials name.
Nothing is changed.  Called by `arm.access_questions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from wherry.control import authorization
from wherry.control.db.tables_credentials import run_credentials
from wherry.control.db.tables_identity import principals, users
from wherry.control.db.tables_ledger import consents, grant_uses, grants
from wherry.control.db.tables_runs import runs
from wherry.control.services import memberships, resource_store, role_assignments
from wherry.control.services.resource_store import Json
from wherry.model import ids, names
from wherry.model.errors import ApiError
from wherry.model.outcomes import iso_time
from wherry.trust import explain, policy
from wherry.trust.explain import Finding
from wherry.trust.roles import ROLES, Role

_ENDPOINT = "microsoft.storagemover/storagemovers/endpoints"
_REACH = {
    "read": (
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
        "Microsoft.KeyVault/vaults/secrets/getSecret/action",
    ),
    "write": (
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
        "Microsoft.KeyVault/vaults/secrets/setSecret/action",
    ),
    "delete": (
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
        "Microsoft.KeyVault/vaults/secrets/delete",
    ),
}


def why(conn: Connection, told: str, action: str, scope: str, now: float, *, data: bool) -> Json:
    """Whether a principal may do `action` at `scope`, by which assignment, or what each one lacks."""
    who = _principal(conn, told)
    decision = authorization.decide_for(conn, who.oid, action, scope, now, data=data)
    facts = role_assignments.facts_of(conn, who.oid, now)
    found = explain.findings(action, scope, facts, data=data)
    names = _names(conn, {one.assignment.principal_id for one in found})
    answer: Json = {
        "allowed": decision.allowed,
        "reason": decision.reason,
        "decidedBy": decision.assignment_id,
        "principal": _shown(who),
        "action": action,
        "isDataAction": data,
        "scope": scope or "/",
        "assignments": [_finding(conn, one, who.oid, names) for one in found],
    }
    if not decision.allowed:
        roles = explain.roles_with(action, ROLES, data=data)
        answer["wouldBeAllowedBy"] = [{"roleName": role.name, "roleId": role.guid} for role in roles]
    return answer


def place_of(conn: Connection, target: str) -> str:
    """Where rights on the data of a target are given: an endpoint's container, else the target itself."""
    endpoint = resource_store.find(conn, target, _ENDPOINT)
    told = endpoint.properties if endpoint is not None else {}
    if "blobContainerName" not in told:
        return target
    account = resource_store.find(conn, told["storageAccountResourceId"])
    where = account.id if account is not None else told["storageAccountResourceId"]
    return f"{where}/blobServices/default/containers/{told['blobContainerName']}"


def who(conn: Connection, target: str, now: float) -> Json:
    """Everybody who can reach the data of a target at this moment, and the credentials that are out for it."""
    found: list[Json] = []
    for row in role_assignments.at_scope(conn, target):
        role = ROLES.get(row.role)
        verbs = _verbs(role) if role is not None else []
        if role is None or not verbs or not policy.holds(row.condition, now):
            continue
        for holder, via in _holders(conn, row.principal_id):
            found.append(
                {
                    "principal": _shown(holder),
                    "viaGroup": via,
                    "may": verbs,
                    "roleName": role.name,
                    "scope": row.scope,
                    "until": _until(row.condition),
                    "roleAssignment": row.name,
                    "why": _reason(conn, row),
                }
            )
    return {
        "target": target,
        "asOf": iso_time(now),
        "holders": found,
        "credentials": _credentials(conn, target),
    }


def assignment(conn: Connection, row: Row[Any]) -> Json:
    """One assignment: who holds it, in which role, where, until when and why."""
    role = ROLES.get(row.role)
    holder = conn.execute(select(principals).where(principals.c.oid == row.principal_id)).first()
    return {
        "principal": _shown(holder)
        if holder is not None
        else {"id": row.principal_id, "name": row.principal_id},
        "roleName": role.name if role is not None else row.role,
        "scope": row.scope,
        "until": _until(row.condition),
        "roleAssignment": row.name,
        "why": _reason(conn, row),
    }


def _principal(conn: Connection, told: str) -> Row[Any]:
    """The living principal of an object id, a client id, or a login."""
    by_login = select(users.c.oid).where(users.c.login == told.lower())
    fitting = or_(
        principals.c.oid == told.lower(),
        principals.c.client_id == told.lower(),
        principals.c.oid.in_(by_login),
    )
    row = conn.execute(select(principals).where(fitting, principals.c.deleted_at.is_(None))).first()
    if row is None:
        raise ApiError(404, "PrincipalNotFound", f"There is no principal '{told[:128]}' in the directory.")
    return row


def _shown(row: Row[Any]) -> Json:
    return {"id": row.oid, "name": row.name, "kind": row.kind, "enabled": row.enabled}


def _names(conn: Connection, oids: set[str]) -> dict[str, str]:
    rows = conn.execute(select(principals.c.oid, principals.c.name).where(principals.c.oid.in_(oids)))
    return {row.oid: row.name for row in rows}


def _finding(conn: Connection, one: Finding, oid: str, names: dict[str, str]) -> Json:
    given = one.assignment
    row = role_assignments.get(conn, given.id)
    return {
        "roleAssignment": given.id,
        "roleName": one.role.name if one.role else given.role,
        "scope": given.scope,
        "condition": given.condition,
        "until": None if one.until is None else iso_time(one.until),
        "viaGroup": None if given.principal_id == oid else names.get(given.principal_id, given.principal_id),
        "allows": one.allows,
        "lacks": one.lacks or None,
        "why": _reason(conn, row) if row is not None else None,
    }


def _holders(conn: Connection, oid: str) -> Iterator[tuple[Row[Any], str | None]]:
    """The living principals whom an assignment to `oid` lets in, with the group that does it."""
    row = conn.execute(
        select(principals).where(
            principals.c.oid == oid, principals.c.deleted_at.is_(None), principals.c.enabled
        )
    ).first()
    if row is None:
        return
    if row.kind != "group":
        yield row, None
        return
    inside = select(principals).where(
        principals.c.oid.in_(memberships.members_of(conn, oid)), principals.c.kind != "group",
        principals.c.enabled, principals.c.deleted_at.is_(None),
    )  # fmt: skip
    for member in conn.execute(inside.order_by(principals.c.name)):
        yield member, row.name


def _verbs(role: Role) -> list[str]:
    return [
        verb
        for verb, actions in _REACH.items()
        if any(policy.grants(role, action, data=True) for action in actions)
    ]


def _until(condition: str | None) -> str | None:
    at = policy.expiry(condition) if condition else None
    return None if at is None else iso_time(at)


def _reason(conn: Connection, row: Row[Any]) -> Json:
    """Who gave it when; for what Wherry made, the consent behind it and the runs that use it."""
    told: Json = {
        "assignedBy": row.created_by,
        "assignedByName": _name(conn, row.created_by),
        "assignedAt": iso_time(row.created_at),
        "description": row.description,
    }
    grant = conn.execute(
        select(consents)
        .join(grants, grants.c.consent == consents.c.id)
        .where(grants.c.assignment == row.name)
    ).first()
    if grant is not None:
        using = select(runs.c.resource_id).join(grant_uses, grant_uses.c.run == runs.c.id)
        told["consent"] = grant.id
        told["consentedBy"] = grant.author
        told["consentedByName"] = _name(conn, grant.author)
        told["runs"] = list(conn.execute(using.where(grant_uses.c.assignment == row.name)).scalars())
    return told


def _name(conn: Connection, oid: str) -> str:
    return _names(conn, {oid}).get(oid, oid)


def _credentials(conn: Connection, target: str) -> list[Json]:
    """What is out for the target, or for a place in it."""
    rows = conn.execute(
        select(run_credentials, runs.c.resource_id)
        .join(runs, runs.c.id == run_credentials.c.run, isouter=True)
        .where(run_credentials.c.state != "withdrawn")
    )
    return [
        {
            "driver": row.driver,
            "name": row.id,
            "run": row.resource_id or row.run,
            "place": row.place,
            "folder": names.escape(row.prefix),
            "access": row.access,
            "state": row.state,
            "until": iso_time(row.expires_at),
        }
        for row in rows
        if ids.contains(target, row.scope) or ids.contains(row.scope, target)
    ]
