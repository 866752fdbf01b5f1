"""The pages of second factors: prove one after the password, set one up, look after those that are there.

Who knows a password only may prove a factor, or set up the first one where there is none; anything else needs a whole
session, and one of the last ten minutes for what changes factors.  Guesses lock the account's factors for a growing
time; each outcome is in the audit trail.
"""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from wherry.control import audit
from wherry.control.access import Routes, public, session
from wherry.control.audit import Record
from wherry.control.identity import factor_forms, passage, sessions
from wherry.control.identity.rendering import HERE, as_page, form, page, record
from wherry.control.identity.sessions import Session
from wherry.control.plane import Plane, caller, plane
from wherry.control.services import factors
from wherry.control.services.factors import Answer, Factor
from wherry.model.errors import ApiError
from wherry.model.outcomes import iso_time
from wherry.trust.passkeys import NotProven

routes = Routes()

_SCRIPT = (HERE / "passkey.js").read_text()
_AGAIN = "Sign in again to change second factors."


@routes.get("/signin/passkey.js", public())
async def script() -> Response:
    """The one script of these pages."""
    return PlainTextResponse(_SCRIPT, media_type="text/javascript")


@routes.get("/factor", public())
@as_page
async def factor_page(request: Request) -> Response:
    """Go on with a sign-in that was interrupted before its second factor."""
    service, known = plane(request), await sessions.of(plane(request), request)
    if known is None or known.whole:
        return RedirectResponse("/signin" if known is None else "/device", 303)
    cookie = request.cookies[sessions.COOKIE]
    show = factor_forms.challenge if known.has_factors else factor_forms.offer
    return await show(request, service, cookie, known.oid, "")


@routes.post("/factor", public())
@as_page
async def prove(request: Request) -> Response:
    """A code or a passkey after the password: the session becomes whole."""
    service = plane(request)
    fields = await form(request)
    user_code = fields.get("user_code", "")[:32]
    known = await sessions.of(service, request)
    if known is None or known.whole or not known.has_factors:
        return page(request, "signin.html", 401, user_code=user_code)
    cookie = request.cookies[sessions.COOKIE]
    value, locked = await service.database.write(
        _prove, service, known, fields, record(request, known.oid, "allowed")
    )
    if value:
        return await passage.arrived(request, service, value, known.oid, known.name, user_code)
    trouble = "That did not prove it. Wait for the next code, or use another way."
    if locked:
        trouble = "Too many wrong codes. Wait a while, then sign in again."
    status = 429 if locked else 401
    return await factor_forms.challenge(request, service, cookie, known.oid, user_code, trouble, status)


@routes.get("/factor/enrol", public())
@as_page
async def enrol_page(request: Request) -> Response:
    """Set up a factor: the first one, or one more."""
    service, known = plane(request), await sessions.of(plane(request), request)
    if known is None or not known.may_enrol:
        return page(request, "signin.html", 401, user_code="", trouble=_AGAIN)
    return await factor_forms.offer(request, service, request.cookies[sessions.COOKIE], known.oid, "")


@routes.post("/factor/enrol", public())
@as_page
async def enrol(request: Request) -> Response:
    """Keep the factor that was set up, when it proves to work; the first one comes with recovery codes."""
    service = plane(request)
    fields = await form(request)
    user_code = fields.get("user_code", "")[:32]
    known = await sessions.of(service, request)
    if known is None or not known.may_enrol:
        return page(request, "signin.html", 401, user_code=user_code, trouble=_AGAIN)
    told = record(request, known.oid, "allowed", action="wherry/factor/added")
    try:
        value, codes = await service.database.write(_enrol, service, known, fields, told)
    except NotProven:
        trouble = "That did not prove it. Check the clock of the device that makes the codes, and try again."
        cookie = request.cookies[sessions.COOKIE]
        return await factor_forms.offer(request, service, cookie, known.oid, user_code, trouble, 400)
    if codes:
        return page(request, "recovery.html", session=value, codes=codes, user_code=user_code)
    response = RedirectResponse("/factors", 303)
    sessions.set_cookie(response, value)
    return response


@routes.get("/factors", session())
async def factors_page(request: Request) -> Response:
    """What one's own second factors are."""
    mine, left = await plane(request).database.read(_mine, caller(request).oid)
    shown = [
        (one, iso_time(one.created_at)[:10], iso_time(one.used_at)[:10] if one.used_at else "never")
        for one in mine
    ]
    return page(request, "factors.html", factors=shown, left=left)


@routes.post("/factors/remove", session())
@as_page
async def remove(request: Request) -> Response:
    """Remove one of several factors."""
    fields = await form(request)
    who = await _fresh(request)
    told = record(request, who.oid, "allowed", action="wherry/factor/removed")
    await plane(request).database.write(_remove, plane(request), who, fields.get("factor", "")[:64], told)
    return RedirectResponse("/factors", 303)


@routes.post("/factors/codes", session())
@as_page
async def recovery_codes(request: Request) -> Response:
    """New recovery codes in place of all others."""
    await form(request)
    who = await _fresh(request)
    told = record(request, who.oid, "allowed", action="wherry/factor/codes")
    codes = await plane(request).database.write(_codes, plane(request), who, told)
    return page(request, "recovery.html", codes=codes, user_code="")


async def _fresh(request: Request) -> Session:
    known = await sessions.of(plane(request), request)
    if known is None or not known.whole or not known.fresh or not known.has_factors:
        raise ApiError(403, "SignInAgain", _AGAIN)
    return known


def _prove(
    conn: Connection, service: Plane, known: Session, fields: dict[str, str], told: Record
) -> tuple[str, bool]:
    now = service.clock()
    answer = Answer(
        fields.get("code", "")[:64], fields.get("credential", ""), sessions.take_challenge(conn, known.hash)
    )
    kind, why = factors.prove(conn, service.master, known.oid, answer, factor_forms.party(service), now)
    if kind:
        audit.append(conn, _with(told, "allowed", kind), now)
        return sessions.proven(conn, known, kind, now), False
    audit.append(conn, _with(told, "denied", f"second factor: {why}"), now)
    return "", factors.locked(conn, known.oid, now)


def _enrol(
    conn: Connection, service: Plane, known: Session, fields: dict[str, str], told: Record
) -> tuple[str, list[str]]:
    now = service.clock()
    first = not factors.has_any(conn, known.oid)
    if not first and not known.whole:
        # Another browser was quicker; who knows the password only adds nothing to that.
        raise ApiError(403, "SignInAgain", _AGAIN)
    challenge = sessions.take_challenge(conn, known.hash)
    if fields.get("credential"):
        made = factor_forms.party(service).made(challenge, fields["credential"])
        factors.add_passkey(conn, known.oid, made, now)
        kind = "passkey"
    else:
        secret = sessions.offered(conn, service.master, known.hash)
        code = fields.get("code", "")[:64]
        if secret is None or not factors.add_app(conn, service.master, known.oid, secret, code, now):
            raise NotProven("wrong code")
        sessions.withdraw_offer(conn, known.hash)
        kind = "totp"
    audit.append(conn, _with(told, "allowed", kind), now)
    return sessions.proven(conn, known, kind, now), factors.new_codes(conn, known.oid) if first else []


def _remove(conn: Connection, service: Plane, who: Session, factor: str, told: Record) -> None:
    gone = factors.remove(conn, who.oid, factor)
    audit.append(conn, _with(told, "allowed", gone.kind), service.clock())


def _codes(conn: Connection, service: Plane, who: Session, told: Record) -> list[str]:
    audit.append(conn, told, service.clock())
    return factors.new_codes(conn, who.oid)


def _mine(conn: Connection, oid: str) -> tuple[list[Factor], int]:
    return factors.of(conn, oid), factors.codes_left(conn, oid)


def _with(told: Record, result: str, reason: str) -> Record:
    return Record(
        told.action, result, actor=told.actor, actor_kind=told.actor_kind, source=told.source,
        request_id=told.request_id, reason=reason,
    )  # fmt: skip
