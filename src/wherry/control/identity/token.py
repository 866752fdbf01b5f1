"""The token endpoint: device codes, refresh tokens and agents' assertions become tokens.

Each grant type is one transaction; tokens are signed after it.  Every outcome that matters (issued, reused, stolen)
is in the audit trail before the answer.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import audit
from wherry.control.access import Routes, public
from wherry.control.audit import Record
from wherry.control.db.tables_identity import principals, users
from wherry.control.identity import assertions, programs
from wherry.control.identity.device import proof_of
from wherry.control.identity.oauth import Scope, TokenError, form_of, required, scope_of, tenant_of
from wherry.control.plane import Plane, plane, request_id, source
from wherry.control.services import device_codes, enrolments, refresh
from wherry.control.services.refresh import Refreshed
from wherry.trust import tokens
from wherry.trust.device_flow import DeviceGrant, Outcome
from wherry.trust.principals import ENROL_SCOPE, FULL_SCOPE, Principal

routes = Routes()

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

_ENDED: Mapping[Outcome, tuple[str, int, str]] = {
    Outcome.PENDING: ("authorization_pending", 70016, "Authorization is pending. Continue polling."),
    Outcome.SLOW_DOWN: ("slow_down", 70016, "The polling interval has been exceeded. Wait longer between polls."),
    Outcome.DENIED: ("authorization_declined", 70017, "The end user declined the authorization request."),
    Outcome.EXPIRED: ("expired_token", 70019, "The verification code has expired. Start again."),
    Outcome.REUSED: ("invalid_grant", 54005, "The device code was already redeemed. Start again."),
    Outcome.FOREIGN: ("invalid_grant", 70000, "The device code was issued to another client or key. It is void now."),
}  # fmt: skip

_REFRESH_ENDED: Mapping[str, tuple[int, str]] = {
    "unknown": (70000, "The provided refresh token is not valid."),
    "foreign": (700007, "The refresh token was issued to another client."),
    "expired": (700082, "The refresh token has expired. Sign in again."),
    "revoked": (50173, "The sign-in was revoked. Sign in again."),
    "reused": (70000, "The refresh token was used before; the sign-in is revoked. Sign in again."),
}


@dataclass(frozen=True, slots=True)
class User:
    """A person that a token is for."""

    oid: str
    name: str
    epoch: int
    display_name: str


@routes.post("/{tenant}/oauth2/v2.0/token", public())
@routes.post("/{tenant}/oauth2/token", public())
async def token(request: Request, tenant: str) -> Response:
    """RFC 6749 §3.2, in Entra's shapes."""
    service = plane(request)
    tenant_of(service, tenant)
    fields = await form_of(request)
    grant_type = required(fields, "grant_type")
    if grant_type == DEVICE_CODE:
        return await _device(request, service, fields)
    if grant_type == "refresh_token":
        return await _refresh(request, service, fields)
    if grant_type == "client_credentials":
        if programs.concerns(request, fields):
            return await programs.sign_in(request, service, fields)
        return await assertions.sign_in(request, service, fields)
    raise TokenError("unsupported_grant_type", 70003, f"The grant type '{grant_type[:64]}' is not supported.")


async def _device(request: Request, service: Plane, fields: Mapping[str, str]) -> Response:
    proof = proof_of(request, service)
    step = await service.database.write(
        _redeem,
        service,
        required(fields, "device_code"),
        required(fields, "client_id").lower(),
        proof.jkt if proof else None,
        Record("wherry/signin", "", source=source(request), request_id=request_id(request)),
    )
    if step is None:
        raise TokenError("bad_verification_code", 70018, "The device code is not known. Start again.")
    outcome, grant, who, family = step
    if outcome is not Outcome.REDEEMED:
        raise TokenError(*_ENDED[outcome])
    if who is None:
        raise TokenError("invalid_grant", 50057, "The user account is disabled.")
    scope = scope_of(service, grant.scope)
    if scope.enrolment:
        return await _enrolment_token(service, grant, who)
    return await _answer(service, fields, scope, who, grant.client_id, family, grant.token_id or "")


def _redeem(
    conn: Connection, service: Plane, code: str, client_id: str, jkt: str | None, record: Record
) -> tuple[Outcome, DeviceGrant, User | None, Refreshed | None] | None:
    now = service.clock()
    step = device_codes.poll(conn, code, client_id, service.tenant, jkt, now, tokens.new_id())
    if step is None:
        return None
    outcome, grant = step
    if outcome in (Outcome.REUSED, Outcome.FOREIGN):
        if grant.token_id:
            enrolments.revoke(conn, grant.token_id)
        _note(conn, record, "denied", grant.subject or "", f"device code {outcome.value}", now)
    who = _user(conn, grant.subject) if outcome is Outcome.REDEEMED and grant.subject else None
    family = None
    if who is not None:
        if grant.jkt:
            ends = now + tokens.ENROLMENT_LIFETIME
            enrolments.record(conn, grant.token_id or "", who.oid, grant.jkt, ends)
        else:
            family = refresh.begin(conn, who.oid, client_id, now)
        _note(conn, record, "allowed", who.oid, "device code redeemed", now)
    return outcome, grant, who, family


async def _refresh(request: Request, service: Plane, fields: Mapping[str, str]) -> Response:
    scope = scope_of(service, fields.get("scope", ""))
    client_id = required(fields, "client_id").lower()
    if scope.enrolment or scope.audience == service.agent_audience:
        raise TokenError("invalid_scope", 65002, "This client may not ask for this scope.")
    record = Record("wherry/refresh", "", source=source(request), request_id=request_id(request))
    used, who = await service.database.write(
        _renew, required(fields, "refresh_token"), client_id, service.clock(), record
    )
    if not isinstance(used, Refreshed):
        raise TokenError("invalid_grant", *_REFRESH_ENDED[used])
    if who is None:
        raise TokenError("invalid_grant", 50057, "The user account is disabled.")
    return await _answer(service, fields, scope, who, client_id, used, tokens.new_id())


def _renew(
    conn: Connection, token: str, client_id: str, now: float, record: Record
) -> tuple[Refreshed | refresh.Refused, User | None]:
    used = refresh.use(conn, token, client_id, now)
    if not isinstance(used, Refreshed):
        _note(conn, record, "denied", "", f"refresh token {used}", now)
        return used, None
    _note(conn, record, "allowed", used.oid, "refresh token used", now)
    return used, _user(conn, used.oid)


async def _answer(
    service: Plane,
    fields: Mapping[str, str],
    scope: Scope,
    who: User,
    client_id: str,
    family: Refreshed | None,
    token_id: str,
) -> Response:
    now = int(service.clock())
    ring = await service.ring()
    principal = Principal(
        kind="user",
        oid=who.oid,
        tenant=service.tenant,
        name=who.name,
        scopes=frozenset({FULL_SCOPE}),
        audience=scope.audience,
        client_id=client_id,
        session=family.family if family else "",
        token_id=token_id,
        epoch=who.epoch,
        issued_at=now,
        expires_at=now + tokens.USER_LIFETIME,
    )
    body: dict[str, Any] = {
        "token_type": "Bearer",
        "scope": scope.asked,
        "expires_in": tokens.USER_LIFETIME,
        "ext_expires_in": tokens.USER_LIFETIME,
        "access_token": tokens.issue_access(principal, ring, service.issuer),
    }
    if scope.openid:
        body["id_token"] = tokens.issue_id(principal, ring, service.issuer, who.display_name)
    if scope.offline and family:
        body["refresh_token"] = family.token
    if fields.get("client_info") == "1":
        info = json.dumps({"uid": who.oid, "utid": service.tenant}).encode()
        body["client_info"] = base64.urlsafe_b64encode(info).rstrip(b"=").decode()
    return JSONResponse(body)


async def _enrolment_token(service: Plane, grant: DeviceGrant, who: User) -> Response:
    now = int(service.clock())
    principal = Principal(
        kind="user",
        oid=who.oid,
        tenant=service.tenant,
        name=who.name,
        scopes=frozenset({ENROL_SCOPE}),
        audience=service.public_url,
        client_id=grant.client_id,
        token_id=grant.token_id or "",
        jkt=grant.jkt,
        epoch=who.epoch,
        issued_at=now,
        expires_at=now + tokens.ENROLMENT_LIFETIME,
        details=grant.details,
    )
    body = {
        "token_type": "DPoP",
        "scope": grant.scope,
        "expires_in": tokens.ENROLMENT_LIFETIME,
        "access_token": tokens.issue_access(
            principal, await service.ring(), service.issuer, tokens.ENROLMENT
        ),
        "authorization_details": [dict(detail) for detail in grant.details],
    }
    return JSONResponse(body)


def _user(conn: Connection, oid: str) -> User | None:
    row = conn.execute(
        select(principals.c.oid, principals.c.name, principals.c.epoch, users.c.display_name)
        .join(users, users.c.oid == principals.c.oid)
        .where(principals.c.oid == oid, principals.c.enabled, principals.c.deleted_at.is_(None))
    ).first()
    return User(*row) if row else None


def _note(conn: Connection, record: Record, result: str, actor: str, reason: str, now: float) -> None:
    kind = "user" if actor else ""
    noted = Record(
        record.action,
        result,
        actor=actor,
        actor_kind=kind,
        source=record.source,
        request_id=record.request_id,
        reason=reason,
    )
    audit.append(conn, noted, now)
