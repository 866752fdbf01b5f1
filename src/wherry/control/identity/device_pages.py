"""The pages on which people decide about devices: enter the code, sign in, see who asks for what, approve or deny.

Codes are looked up only for somebody who has signed in, lately and with all that is demanded.  Wrong codes are few a
session, an address and altogether, and a wrong answer never tells how near it was.
"""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from wherry.control import audit
from wherry.control.access import Routes, public
from wherry.control.audit import Record
from wherry.control.identity import sessions
from wherry.control.identity.rendering import as_page, done, form, page, record
from wherry.control.plane import Plane, plane, source
from wherry.control.services import device_codes
from wherry.model.errors import ApiError
from wherry.trust import clients, device_flow
from wherry.trust.device_flow import DeviceGrant
from wherry.trust.enrolment import EnrolmentRequest, key_words
from wherry.trust.keys import sha256
from wherry.trust.principals import Principal

routes = Routes()

_NO_DEVICE = "No device is waiting for this code. Check it, or start again on the device."
_TOO_MANY = ApiError(
    429,
    "TooManyCodes",
    "Too many wrong codes were entered. Wait ten minutes, then start again on the device.",
)


@routes.get("/device", public())
async def device_page(request: Request) -> Response:
    """The form for a code."""
    return page(request, "device.html")


@routes.post("/device", public())
@as_page
async def enter_code(request: Request) -> Response:
    """A code was typed: sign in first, then see what it asks for."""
    service = plane(request)
    fields = await form(request)
    code = device_flow.normalize_user_code(fields.get("user_code", "")[:32])
    if code is None:
        return page(request, "device.html", 400, trouble="A code has eight letters, like BCDF-GHJK.")
    who = await sessions.principal_of(service, request, fresh=True)
    if who is None:
        return page(request, "signin.html", user_code=code)
    return await consent(request, service, code, who.oid, who.name, request.cookies[sessions.COOKIE])


@routes.post("/device/decide", public())
@as_page
async def decide(request: Request) -> Response:
    """Approve or deny, with the rights of who is signed in."""
    service = plane(request)
    fields = await form(request)
    code = fields.get("user_code", "")[:32]
    who = await sessions.principal_of(service, request, fresh=True)
    if who is None:
        return page(request, "signin.html", 401, user_code=code)
    known = await service.database.write(_is_known, service, request, code, who.oid, who.session)
    if not known:
        return _unknown(request, known)
    try:
        if fields.get("decision") != "approve":
            await service.database.write(_deny, service, who, code, record(request, who.oid, "allowed"))
            return done(
                request,
                "Denied",
                "The device gets nothing. If you did not start this, tell your administrator.",
            )
        right, grant = await service.database.write(
            device_codes.compare, service.master, code, fields.get("match", ""), service.clock()
        )
        if not right:
            return await _wrong_number(request, service, who, code, grant)
        grant = await service.database.write(
            _approve, service, who, code, record(request, who.oid, "allowed")
        )
    except ApiError as refused:
        return page(request, "device.html", refused.status, trouble=refused.message)
    if grant.state != "approved":
        return _not_allowed(request, service)
    return done(request, "Approved", "Go back to the device: it goes on by itself. You can close this page.")


async def consent(request: Request, service: Plane, code: str, oid: str, name: str, session: str) -> Response:
    """The page that asks for a decision, for who is signed in by the cookie `session`."""
    known = await service.database.write(_is_known, service, request, code, oid, sha256(session))
    if not known:
        return _unknown(request, known, session)
    grant = await service.database.read(device_codes.find, service.master, code, service.clock())
    if grant is None:
        return page(request, "device.html", 404, session=session, trouble=_NO_DEVICE)
    return _consent_page(request, grant, code, name, session)


def _consent_page(
    request: Request, grant: DeviceGrant, code: str, name: str, session: str, trouble: str = ""
) -> Response:
    return page(
        request,
        "consent.html",
        session=session,
        trouble=trouble,
        grant=grant,
        words=key_words(grant.jkt) if grant.jkt else "",
        elsewhere=grant.source != source(request),
        user_code=code,
        name=name,
        client=clients.NAMES.get(grant.client_id, grant.client_id),
        enrolment=EnrolmentRequest.parse(grant.details) if grant.details else None,
    )


async def _wrong_number(
    request: Request, service: Plane, who: Principal, code: str, grant: DeviceGrant
) -> Response:
    denied = record(request, who.oid, "denied", "wrong match number")
    await service.database.write(audit.append, denied, service.clock())
    if grant.state == "denied":
        return done(request, "Stopped", "The number was wrong three times. Start again on the agent.", 403)
    trouble = "That is not the number on the agent's console. If you do not see the console, deny."
    return _consent_page(request, grant, code, who.name, request.cookies[sessions.COOKIE], trouble)


def _not_allowed(request: Request, service: Plane) -> Response:
    role = "Owner" if service.settings.register_needs_owner else "Storage Mover Agent Registrar"
    return done(
        request,
        "You may not do this",
        "Registering an agent needs the right to write agents of this storage mover and machines of its resource "
        f"group. Ask for the role {role} there, and start again on the agent.",
        403,
    )


def _unknown(request: Request, known: bool | None, session: str = "") -> Response:
    if known is None:
        return page(request, "device.html", 429, session=session, trouble=_TOO_MANY)
    return page(request, "device.html", 404, session=session, trouble=_NO_DEVICE)


def _is_known(
    conn: Connection, service: Plane, request: Request, code: str, oid: str, session: str
) -> bool | None:
    """Whether there is such a code, waiting or not; None when nobody may ask any more.

    One that never was counts as a guess, of which there are few.
    """
    now = service.clock()
    if not device_codes.guesses_left(conn, source(request), now):
        audit.append(conn, record(request, oid, "denied", "too many wrong codes"), now)
        return None
    known = device_codes.is_known(conn, service.master, code)
    if not known:
        device_codes.guess_allowed(conn, source(request), now)
        sessions.wrong_code(conn, session)
        audit.append(conn, record(request, oid, "denied", "wrong device code"), now)
    return known


def _approve(conn: Connection, service: Plane, who: Principal, code: str, told: Record) -> DeviceGrant:
    grant = device_codes.approve(
        conn, service.master, code, who.oid, service.clock(), owners=service.settings.register_needs_owner
    )
    audit.append(conn, audit.about_device(told, grant), service.clock())
    return grant


def _deny(conn: Connection, service: Plane, who: Principal, code: str, told: Record) -> None:
    grant = device_codes.deny(conn, service.master, code, who.oid, service.clock())
    audit.append(conn, audit.about_device(told, grant), service.clock())
