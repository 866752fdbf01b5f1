"""Who calls: from the headers of a request to a `Principal` that is alive at this moment.

Three doors: a bearer token of a user (`bearer`), a token bound to an agent's key with a proof of it
(`authenticate_agent`, `authenticate_enrolment`) and a browser's session (`identity.sessions`).  Verifying a token is
`trust.tokens`; here identity, epoch, session and key are looked up in the database at every request, so that
revoking any of them takes effect at once.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request

from wherry.control import refusals
from wherry.control.db.tables_identity import principals, refresh_families, seen_proofs
from wherry.control.plane import Plane, source
from wherry.control.services import agent_trust, private_links, programs
from wherry.trust import proofs, tokens
from wherry.trust.principals import Principal
from wherry.trust.proofs import NonceNeeded, Proof
from wherry.trust.signed import Untrusted
from wherry.trust.tokens import Profile

# Made once: these are asked for every request.
_IDENTITY = select(
    principals.c.enabled, principals.c.epoch, principals.c.deleted_at, principals.c.kind
).where(principals.c.oid == bindparam("wanted"))
_FAMILY = select(refresh_families.c.revoked_at).where(refresh_families.c.family == bindparam("wanted"))


async def bearer(plane: Plane, request: Request, audiences: frozenset[str], resource: str = "") -> Principal:
    """The user whose access token for one of `audiences` the request carries; 401 otherwise.

    `resource` is what the challenge tells clients to get a token for, where they do not know it.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise refusals.unauthenticated(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
            plane.authority,
            resource=resource,
        )
    try:
        principal = tokens.verify_token(
            token.strip(), await plane.ring(), Profile(tokens.ACCESS, audiences), plane.issuer, plane.clock()
        )
    except Untrusted as refused:
        code = "ExpiredAuthenticationToken" if str(refused) == "expired" else "InvalidAuthenticationToken"
        raise refusals.unauthenticated(
            code, f"The access token is invalid: {refused}.", plane.authority, resource=resource
        ) from refused
    if not await plane.database.read(alive, principal):
        raise refusals.unauthenticated(
            "InvalidAuthenticationToken",
            "The access token has been revoked.",
            plane.authority,
            resource=resource,
        ).about(principal)
    if principal.kind == "agent" and await plane.database.read(
        agent_trust.is_elsewhere, principal.oid, source(request)
    ):
        raise refusals.from_elsewhere(private_links.refused(source(request))).about(principal)
    return principal


async def authenticate_agent(plane: Plane, request: Request) -> Principal:
    """The registered agent whose own token and proof the request carries; 401 otherwise.

    `identity_deleted` in the code tells an agent that it was unregistered and may wipe itself, `identity_locked` that
    it has to be registered anew.
    """
    profile = Profile(tokens.ACCESS, frozenset({plane.agent_audience}), bound=True)
    principal = await _bound(plane, request, profile)
    trouble, news = await plane.database.read(agent_trust.trouble, principal, source(request), plane.clock())
    if news:
        trouble = await plane.database.write(agent_trust.note_use, principal, plane.clock())
    if trouble == private_links.DENIED:
        raise refusals.from_elsewhere(private_links.refused(source(request))).about(principal)
    if trouble:
        raise refusals.bad_proof(
            trouble, "The agent's identity, key or proof is not accepted any more.", None
        ).about(principal)
    return principal


async def authenticate_enrolment(plane: Plane, request: Request) -> Principal:
    """The approver of an enrolment, as the holder of its token and key; 401 otherwise.

    `jkt` is the agent's key, `details` what was consented to; whether the token was used is for
    `services.identities.enrol` to say, in the transaction that registers.
    """
    profile = Profile(tokens.ENROLMENT, plane.arm_audiences, bound=True)
    principal = await _bound(plane, request, profile)
    if not await plane.database.read(alive, principal):
        raise refusals.bad_proof("invalid_token", "The enrolment is not valid any more.", None).about(
            principal
        )
    return principal


def alive(conn: Connection, principal: Principal) -> bool:
    """Whether identity and session of a verified token still stand."""
    row = conn.execute(_IDENTITY, {"wanted": principal.oid}).first()
    if row is None or not row.enabled or row.deleted_at is not None or row.epoch != principal.epoch:
        return False
    if row.kind != principal.kind:
        return False
    if row.kind == "service":
        return programs.still_there(conn, principal.session, principal.client_id)
    if not principal.session:
        return True
    family = conn.execute(_FAMILY, {"wanted": principal.session}).first()
    return family is not None and family.revoked_at is None


def remember(conn: Connection, client: str, proof: Proof) -> bool:
    """Note that a proof was used; False when it was used before."""
    try:
        with conn.begin_nested():
            conn.execute(
                insert(seen_proofs).values(client=client, jti=proof.jti, expires_at=proof.expires_at)
            )
    except IntegrityError:
        return False
    return True


async def _bound(plane: Plane, request: Request, profile: Profile) -> Principal:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    sent = request.headers.getlist("dpop")
    now = plane.clock()
    nonce = plane.nonces.issue(now)
    if scheme.lower() != "dpop" or not token or len(sent) != 1:
        raise refusals.bad_proof(
            "invalid_token", "A DPoP-bound access token and one proof are required.", nonce
        )
    try:
        principal = tokens.verify_token(token.strip(), await plane.ring(), profile, plane.issuer, now)
    except Untrusted as refused:
        raise refusals.bad_proof(
            "invalid_token", f"The access token is invalid: {refused}.", nonce
        ) from refused
    verify_proof(plane, request, sent[0], access_token=token.strip(), jkt=principal.jkt)
    return principal


def verify_proof(
    plane: Plane, request: Request, proof: str, *, access_token: str | None = None, jkt: str | None = None
) -> Proof:
    """The proof of this very request, never seen before; 401 with a nonce to try again with otherwise."""
    now = plane.clock()
    nonce = plane.nonces.issue(now)
    try:
        verified = proofs.verify_dpop(
            proof,
            method=request.method,
            urls=plane.urls(request.url.path),
            now=now,
            nonces=plane.nonces,
            access_token=access_token,
            jkt=jkt,
        )
    except NonceNeeded as stale:
        raise refusals.bad_proof("use_dpop_nonce", f"{stale}.", nonce) from stale
    except Untrusted as refused:
        raise refusals.bad_proof("invalid_dpop_proof", f"{refused}.", nonce) from refused
    if not plane.seen.first_time(verified, now):
        raise refusals.bad_proof("invalid_dpop_proof", "The proof was used before.", nonce)
    return verified
