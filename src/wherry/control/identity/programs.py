"""Programs sign in: `client_credentials` with a secret (in the form or as Basic) or an assertion by a certificate.

An assertion is good for one token of each audience: Azure's libraries use one again for another audience as long as it
lives, and never for the same.  Guesses are counted by client and by address, in the database.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.db.tables_identity import principals, seen_proofs
from wherry.control.identity.oauth import TENANT_ALIASES, Scope, TokenError, required, scope_of
from wherry.control.plane import Plane, request_id, source
from wherry.control.services import limits
from wherry.control.services import programs as services
from wherry.control.services.programs import Credential
from wherry.trust import programs, proofs, tokens
from wherry.trust.keys import KeyTrouble
from wherry.trust.principals import PROGRAM_SCOPE, Principal
from wherry.trust.programs import Assertion, Certificate
from wherry.trust.signed import Untrusted

WRONG_PER_CLIENT = 20
WRONG_PER_SOURCE = 200
WRONG_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a request says that it is from, and by what."""

    client_id: str
    secret: str = field(default="", repr=False)
    assertion: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Program:
    """A service principal that may sign in."""

    oid: str
    name: str
    client_id: str
    epoch: int


class Refused(TokenError):
    """A sign-in that failed; the trail tells `reason`, the caller only what helps the rightful one."""

    def __init__(self, number: int, description: str, reason: str) -> None:
        super().__init__("invalid_client", number, description, 401)
        self.reason = reason


def concerns(request: Request, fields: Mapping[str, str]) -> bool:
    """Whether a request for client credentials is a program's, and not an agent's."""
    if "client_secret" in fields or _basic(request) is not None:
        return True
    if "dpop" in request.headers or "client_assertion" not in fields:
        return False
    return not programs.is_of_agent(fields["client_assertion"])


async def sign_in(request: Request, service: Plane, fields: Mapping[str, str]) -> Response:
    """An access token with the rights that roles give the program."""
    scope = scope_of(service, fields.get("scope") or f"{fields.get('resource', service.public_url)}/.default")
    if scope.name != ".default" or scope.audience == service.agent_audience:
        raise TokenError("invalid_scope", 1002012, "A program asks for the scope '{resource}/.default'.")
    claim = _claim(request, fields)
    if not await service.database.read(_may_try, claim.client_id, source(request), service.clock()):
        service.counters.count(None, "wherry/signin", "denied", service.clock())
        raise TokenError(
            "temporarily_unavailable",
            50196,
            "Too many wrong tries. Try again later.",
            429,
            {"Retry-After": "60"},
        )
    record = Record("wherry/signin", "allowed", source=source(request), request_id=request_id(request))
    try:
        program, credential = await _admitted(service, claim, scope, record)
    except Refused as refused:
        await service.database.write(_count, service, claim.client_id, refused.reason, record)
        raise
    return JSONResponse(await _answer(service, program, credential, scope))


async def _admitted(service: Plane, claim: Claim, scope: Scope, record: Record) -> tuple[Program, Credential]:
    now = service.clock()
    if claim.secret:
        return await service.database.write(_by_secret, claim, now, record)
    certificates = await service.database.read(_certificates, claim.client_id)
    audiences = _audiences(service)
    # Signatures are checked on another thread, outside of any transaction.
    verified, credential = await service.hashing.run(
        claim.client_id, partial(_verify, claim, certificates, audiences, now)
    )
    return await service.database.write(
        _by_assertion, claim, verified, credential, scope.audience, now, record
    )


def _by_secret(conn: Connection, claim: Claim, now: float, record: Record) -> tuple[Program, Credential]:
    found, good = services.match_secret(conn, claim.client_id, claim.secret, now)
    if found is None:
        raise Refused(7000215, "Invalid client secret provided.", "wrong secret")
    if not good:
        raise Refused(
            7000222, "The provided client secret keys are expired. Add a new one.", "expired secret"
        )
    return _admit(conn, claim.client_id, found, now, record), found


def _by_assertion(
    conn: Connection,
    claim: Claim,
    verified: Assertion,
    credential: Credential,
    audience: str,
    now: float,
    record: Record,
) -> tuple[Program, Credential]:
    try:
        with conn.begin_nested():
            conn.execute(
                insert(seen_proofs).values(
                    client=claim.client_id,
                    jti=f"{verified.jti} {audience.removesuffix('/')}",
                    expires_at=verified.expires_at,
                )
            )
    except IntegrityError as again:
        raise _invalid("it was used before") from again
    return _admit(conn, claim.client_id, credential, now, record), credential


def _admit(conn: Connection, client_id: str, credential: Credential, now: float, record: Record) -> Program:
    row = conn.execute(
        select(principals.c.oid, principals.c.name, principals.c.epoch).where(
            principals.c.client_id == client_id, principals.c.kind == "service", principals.c.enabled,
            principals.c.deleted_at.is_(None),
        )
    ).first()  # fmt: skip
    if row is None or not services.still_there(conn, credential.key_id, client_id):
        raise Refused(7000112, f"Application '{client_id}' is disabled.", "disabled")
    program = Program(row.oid, row.name, client_id, row.epoch)
    services.used(conn, credential.key_id, now)
    audit.append(conn, _about(record, program, credential.kind, session=credential.key_id), now)
    return program


def _verify(
    claim: Claim, registered: list[Credential], audiences: frozenset[str], now: float
) -> tuple[Assertion, Credential]:
    for one in registered:
        try:
            certificate = Certificate.read((one.certificate or "").encode())
            if not programs.names(certificate, claim.assertion):
                continue
            verified = programs.verify_assertion(
                claim.assertion, certificate, claim.client_id, audiences, now
            )
        except (Untrusted, KeyTrouble) as refused:
            raise _invalid(str(refused)) from refused
        if not services.good(one, now):
            raise _invalid("the certificate has expired")
        return verified, one
    raise _invalid("it is signed by no certificate that is registered")


def _certificates(conn: Connection, client_id: str) -> list[Credential]:
    return [one for one in services.credentials(conn, client_id) if one.kind == "certificate"]


def _may_try(conn: Connection, client_id: str, source: str, now: float) -> bool:
    near = limits.left(conn, f"wrong secret/{source}", WRONG_PER_SOURCE, WRONG_SECONDS, now)
    return near and limits.left(
        conn, f"wrong secret/{source}/{client_id}", WRONG_PER_CLIENT, WRONG_SECONDS, now
    )


def _count(conn: Connection, service: Plane, client_id: str, reason: str, record: Record) -> None:
    """A wrong try: one of a known program is in the trail, those of nobody are only counted."""
    now = service.clock()
    limits.hit(conn, f"wrong secret/{record.source}", WRONG_PER_SOURCE, WRONG_SECONDS, now)
    row = conn.execute(
        select(principals.c.oid, principals.c.name, principals.c.epoch).where(
            principals.c.client_id == client_id, principals.c.kind == "service"
        )
    ).first()
    if row is None:
        service.counters.count(None, "wherry/signin", "denied", now)
        return
    limits.hit(conn, f"wrong secret/{record.source}/{client_id}", WRONG_PER_CLIENT, WRONG_SECONDS, now)
    program = Program(row.oid, row.name, client_id, row.epoch)
    audit.append(conn, _about(record, program, reason, result="denied"), now)


def _about(
    record: Record, program: Program, reason: str, *, session: str = "", result: str = "allowed"
) -> Record:
    return Record(
        record.action, result, actor=program.oid, actor_kind="service", actor_name=program.name, session=session,
        source=record.source, request_id=record.request_id, reason=reason,
    )  # fmt: skip


def _claim(request: Request, fields: Mapping[str, str]) -> Claim:
    told = _basic(request)
    if told is not None:
        if "client_secret" in fields or "client_assertion" in fields:
            raise TokenError("invalid_request", 90023, "Sign in by one means, not by several.")
        if fields.get("client_id", told[0]).lower() != told[0].lower():
            raise TokenError(
                "invalid_request", 90023, "client_id is not the one of the Authorization header."
            )
        return Claim(told[0].lower(), told[1])
    if "client_secret" in fields:
        return Claim(required(fields, "client_id").lower(), required(fields, "client_secret"))
    if fields.get("client_assertion_type") != proofs.ASSERTION_TYPE:
        raise _invalid("its client_assertion_type is not known")
    try:
        client_id = programs.claimed_client(fields["client_assertion"])
    except Untrusted as refused:
        raise _invalid(str(refused)) from refused
    if fields.get("client_id", client_id).lower() != client_id.lower():
        raise _invalid("client_id is not the one of the assertion")
    return Claim(client_id.lower(), assertion=fields["client_assertion"])


def _basic(request: Request) -> tuple[str, str] | None:
    """Client id and secret of an `Authorization: Basic` header, both URL-encoded as RFC 6749 has it."""
    scheme, _, told = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(told.strip(), validate=True).decode().partition(":")
    except ValueError as broken:
        raise TokenError("invalid_request", 90023, "The Authorization header cannot be read.") from broken
    return unquote_plus(name), unquote_plus(secret)


def _audiences(service: Plane) -> frozenset[str]:
    """The names of this token endpoint, as discovery gives them out, and the issuer's (RFC 7523bis)."""
    named = [f"{service.public_url}/{tenant}/oauth2" for tenant in (service.tenant, *TENANT_ALIASES)]
    return frozenset({service.issuer, *(f"{one}{way}" for one in named for way in ("/v2.0/token", "/token"))})


async def _answer(service: Plane, program: Program, credential: Credential, scope: Scope) -> dict[str, Any]:
    now = int(service.clock())
    principal = Principal(
        kind="service",
        oid=program.oid,
        tenant=service.tenant,
        name=program.name,
        scopes=frozenset({PROGRAM_SCOPE}),
        audience=scope.audience,
        client_id=program.client_id,
        session=credential.key_id,
        token_id=tokens.new_id(),
        epoch=program.epoch,
        issued_at=now,
        expires_at=now + tokens.USER_LIFETIME,
    )
    return {
        "token_type": "Bearer",
        "expires_in": tokens.USER_LIFETIME,
        "ext_expires_in": tokens.USER_LIFETIME,
        "access_token": tokens.issue_access(principal, await service.ring(), service.issuer),
    }


def _invalid(why: str) -> Refused:
    return Refused(700027, f"The client assertion was refused: {why}.", f"assertion: {why}")
