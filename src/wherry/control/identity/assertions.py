"""Agents sign in: `client_credentials` with an assertion (RFC 7523) and a proof (DPoP), both by the agent's key.

Order matters: signatures first, state last.  What has become of an identity (`identity_deleted`,
`identity_locked`, `identity_expired`) is told to the holder of its key only, so that an unregistered agent can wipe
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.db.tables_identity import agent_keys, principals, seen_proofs
from wherry.control.identity.device import proof_of
from wherry.control.identity.oauth import TokenError, required, scope_of
from wherry.control.plane import Plane, request_id, source
from wherry.control.services import agent_trust
from wherry.control.services.agent_trust import Admitted
from wherry.trust import proofs, tokens
from wherry.trust.keys import PublicKey
from wherry.trust.principals import AGENT_SCOPE, Principal
from wherry.trust.proofs import Proof
from wherry.trust.signed import Untrusted


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's identity with the one of its keys that it claims to hold."""

    oid: str
    name: str
    client_id: str
    resource_id: str | None
    epoch: int
    jwk: Mapping[str, Any]
    jkt: str


async def sign_in(request: Request, service: Plane, fields: Mapping[str, str]) -> Response:
    """An access token for the agent protocol, bound to the agent's key."""
    if fields.get("client_assertion_type") != proofs.ASSERTION_TYPE:
        raise _invalid("a client assertion is required")
    scope = scope_of(service, required(fields, "scope"))
    if scope.audience != service.agent_audience:
        raise TokenError("invalid_scope", 70011, "Agents get tokens for the agent protocol only.")
    held = proof_of(request, service)
    if held is None:
        raise TokenError(
            "invalid_dpop_proof", 9009, "Agents sign in with a proof of their key (DPoP header)."
        )
    assertion = required(fields, "client_assertion")
    client_id, row = await _claimed(service, fields, assertion)
    now = service.clock()
    try:
        key = PublicKey.from_jwk(row.jwk)
        verified = proofs.verify_assertion(assertion, key, client_id, service.issuer, now=now)
    except Untrusted as refused:
        await _denied(request, service, row, str(refused))
        raise _invalid(f"{refused}") from refused
    if held.jkt != verified.jkt:
        await _denied(request, service, row, "the proof is by another key than the assertion")
        raise _invalid("the proof is by another key than the assertion")
    record = _record(request, row, "allowed", "")
    shown = fields.get("join_state", "")
    found = await service.database.write(_admit, service, row, verified, shown, record)
    if isinstance(found, str):
        raise _invalid(found)
    return JSONResponse(await _answer(service, row, verified.jkt, scope.asked, found))


async def _claimed(service: Plane, fields: Mapping[str, str], assertion: str) -> tuple[str, Agent]:
    try:
        client_id, jkt = proofs.claimed_client(assertion)
    except Untrusted as refused:
        raise _invalid(f"{refused}") from refused
    if fields.get("client_id", client_id) != client_id:
        raise _invalid("client_id is not the one of the assertion")
    row = await service.database.read(_registered, client_id, jkt)
    if row is None:
        raise _invalid("the client or its key is not known")
    return client_id, row


def _registered(conn: Connection, client_id: str, jkt: str) -> Agent | None:
    row = conn.execute(
        select(
            principals.c.oid,
            principals.c.name,
            principals.c.client_id,
            principals.c.resource_id,
            principals.c.epoch,
            agent_keys.c.jwk,
            agent_keys.c.jkt,
        )
        .join(agent_keys, agent_keys.c.oid == principals.c.oid)
        .where(principals.c.client_id == client_id, principals.c.kind == "agent", agent_keys.c.jkt == jkt)
    ).first()
    return Agent(*row) if row else None


def _admit(
    conn: Connection, service: Plane, row: Agent, verified: Proof, shown: str, record: Record
) -> Admitted | str:
    now = service.clock()
    if _first_time(conn, row.client_id, verified):
        found = agent_trust.admit(conn, service.master, row.oid, verified, shown, record.source, now)
    else:
        found = "the assertion was used before"
    if isinstance(found, str):
        record = replace(record, result="denied", reason=found)
    audit.append(conn, record, now)
    return found


def _first_time(conn: Connection, client_id: str, verified: Proof) -> bool:
    try:
        with conn.begin_nested():
            conn.execute(
                insert(seen_proofs).values(client=client_id, jti=verified.jti, expires_at=verified.expires_at)
            )
    except IntegrityError:
        return False
    return True


async def _answer(service: Plane, row: Agent, jkt: str, scope: str, admitted: Admitted) -> dict[str, Any]:
    now = int(service.clock())
    principal = Principal(
        kind="agent",
        oid=row.oid,
        tenant=service.tenant,
        name=row.name,
        scopes=frozenset({AGENT_SCOPE}),
        audience=service.agent_audience,
        client_id=row.client_id,
        token_id=tokens.new_id(),
        jkt=jkt,
        join=str(admitted.state),
        resource_id=row.resource_id or "",
        epoch=row.epoch,
        issued_at=now,
        expires_at=now + tokens.AGENT_LIFETIME,
    )
    return {
        "token_type": "DPoP",
        "scope": scope,
        "expires_in": tokens.AGENT_LIFETIME,
        "access_token": tokens.issue_access(principal, await service.ring(), service.issuer),
        "join_state": admitted.text,
    }


async def _denied(request: Request, service: Plane, row: Agent, reason: str) -> None:
    await service.database.write(audit.append, _record(request, row, "denied", reason), service.clock())


def _record(request: Request, row: Agent, result: str, reason: str) -> Record:
    return Record(
        "wherry/signin",
        result,
        actor=row.oid,
        actor_kind="agent",
        actor_name=row.name,
        jkt=row.jkt,
        source=source(request),
        request_id=request_id(request),
        reason=reason,
    )


def _invalid(why: str) -> TokenError:
    return TokenError("invalid_client", 700027, f"The client assertion was refused: {why}.")
