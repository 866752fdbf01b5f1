"""The pages where people sign in and decide about devices: plain HTML, no script.

`/device`: enter the code → sign in → see who asks for what → approve or deny.  Codes are looked up only for somebody
who has signed in, every form carries a token made for this very browser, and a decision needs a sign-in of the last
ten minutes.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import anyio.to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from wherry.control import audit
from wherry.control.access import Routes, public
from wherry.control.audit import Record
from wherry.control.identity import sessions
from wherry.control.identity.oauth import TokenError, form_of
from wherry.control.plane import Plane, plane, request_id, source
from wherry.control.services import device_codes, principals, users
from wherry.model.errors import ApiError
from wherry.trust import clients, device_flow, passwords
from wherry.trust.device_flow import DeviceGrant
from wherry.trust.enrolment import EnrolmentRequest
from wherry.trust.principals import Principal

routes = Routes()

Handler = Callable[[Request], Awaitable[Response]]

_HERE = Path(__file__).parent / "templates"
_TEMPLATES = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
_STYLE = (_HERE / "style.css").read_text()
_NO_DEVICE = "No device is waiting for this code. Check it, or start again on the device."
_CSP = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"


def as_page(handler: Handler) -> Handler:
    """What a person meets is a page, when something is refused too."""

    @wraps(handler)
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except ApiError as refused:
            return _done(request, "That did not work", refused.message, refused.status)

    return answered


@routes.get("/signin/style.css", public())
async def style() -> Response:
    """The style sheet of these pages."""
    return PlainTextResponse(_STYLE, media_type="text/css")


@routes.get("/signin", public())
async def signin_page(request: Request) -> Response:
    """The sign-in form."""
    return _page(request, "signin.html", user_code="")


@routes.post("/signin", public())
@as_page
async def sign_in(request: Request) -> Response:
    """Check name and password; a new session on success, and on to the device that waits, if any."""
    service = plane(request)
    fields = await _form(request)
    user_code = fields.get("user_code", "")[:32]
    oid = await _check_password(request, service, fields.get("login", ""), fields.get("password", ""))
    if oid is None:
        trouble = "User name or password is wrong, or too many tries: then wait a little."
        return _page(request, "signin.html", 401, user_code=user_code, trouble=trouble)
    if await service.database.read(users.must_change, oid):
        trouble = "This password was good for one time. Choose one of your own."
        return _page(request, "password.html", user_code=user_code, login=fields["login"], trouble=trouble)
    return await _go_on(request, service, oid, fields["login"], user_code)


@routes.get("/password", public())
async def password_page(request: Request) -> Response:
    """The form for another password."""
    return _page(request, "password.html", user_code="", login="")


@routes.post("/password", public())
@as_page
async def change_password(request: Request) -> Response:
    """Whoever knows the password of a user may change it; all sign-ins end, and a new one begins."""
    service = plane(request)
    fields = await _form(request)
    login, user_code = fields.get("login", "")[:256], fields.get("user_code", "")[:32]
    new = fields.get("new", "")
    trouble = passwords.weakness(new, login.strip())
    if new != fields.get("again", ""):
        trouble = "The two new passwords differ."
    elif new == fields.get("password", ""):
        trouble = "Choose another password than the current one."
    if trouble:
        return _page(request, "password.html", 400, user_code=user_code, login=login, trouble=trouble)
    oid = await _check_password(request, service, login, fields.get("password", ""))
    if oid is None:
        trouble = "User name or password is wrong, or too many tries: then wait a little."
        return _page(request, "password.html", 401, user_code=user_code, login=login, trouble=trouble)
    verifier = await anyio.to_thread.run_sync(passwords.protect, new, limiter=service.hashing)
    record = replace(_record(request, oid, "allowed"), action="wherry/directory/password")
    await service.database.write(_set_password, oid, verifier, service.clock(), record)
    return await _go_on(request, service, oid, login, user_code)


async def _go_on(request: Request, service: Plane, oid: str, login: str, user_code: str) -> Response:
    """A new session, and on to the device that waits, if any."""
    value = await service.database.write(_begin, oid, service.clock(), _record(request, oid, "allowed"))
    if user_code:
        return await _consent(request, service, user_code, oid, login, value)
    response = RedirectResponse("/device", 303)
    sessions.set_cookie(response, value)
    return response


def _set_password(conn: Connection, oid: str, verifier: str, now: float, record: Record) -> None:
    users.set_password(conn, oid, verifier, now, must_change=False)
    principals.end_sign_ins(conn, oid)
    audit.append(conn, record, now)


@routes.post("/signout", public())
@as_page
async def sign_out(request: Request) -> Response:
    """End the session."""
    await _form(request)
    await plane(request).database.write(sessions.end, request.cookies.get(sessions.COOKIE, ""))
    response = RedirectResponse("/signin", 303)
    response.delete_cookie(sessions.COOKIE, path="/", secure=True, httponly=True)
    return response


@routes.get("/device", public())
async def device_page(request: Request) -> Response:
    """The form for a code."""
    return _page(request, "device.html")


@routes.post("/device", public())
@as_page
async def enter_code(request: Request) -> Response:
    """A code was typed: sign in first, then see what it asks for."""
    service = plane(request)
    fields = await _form(request)
    code = device_flow.normalize_user_code(fields.get("user_code", "")[:32])
    if code is None:
        return _page(request, "device.html", 400, trouble="A code has eight letters, like BCDF-GHJK.")
    who = await sessions.principal_of(service, request, fresh=True)
    if who is None:
        return _page(request, "signin.html", user_code=code)
    return await _consent(request, service, code, who.oid, who.name, request.cookies[sessions.COOKIE])


@routes.post("/device/decide", public())
@as_page
async def decide(request: Request) -> Response:
    """Approve or deny, with the rights of who is signed in."""
    service = plane(request)
    fields = await _form(request)
    code = fields.get("user_code", "")[:32]
    who = await sessions.principal_of(service, request, fresh=True)
    if who is None:
        return _page(request, "signin.html", 401, user_code=code)
    if not await service.database.write(_is_known, service, request, code, who.oid):
        return _page(request, "device.html", 404, trouble=_NO_DEVICE)
    try:
        if fields.get("decision") != "approve":
            await service.database.write(_deny, service, who, code, _record(request, who.oid, "allowed"))
            return _done(
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
            _approve, service, who, code, _record(request, who.oid, "allowed")
        )
    except ApiError as refused:
        return _page(request, "device.html", refused.status, trouble=refused.message)
    if grant.state != "approved":
        return _done(
            request,
            "You may not do this",
            "Registering an agent needs the right to write agents of this storage mover and machines of its resource "
            "group. Ask for the role Storage Mover Agent Registrar there, and start again on the agent.",
            403,
        )
    return _done(request, "Approved", "Go back to the device: it goes on by itself. You can close this page.")


async def _check_password(request: Request, service: Plane, login: str, password: str) -> str | None:
    now = service.clock()
    if not await service.database.read(users.may_try, source(request), now):
        return None
    oid, verifier = await service.database.read(users.verifier_of, login, now)
    right = await anyio.to_thread.run_sync(passwords.matches, verifier, password, limiter=service.hashing)
    denied = _record(request, oid or "", "denied", "wrong password")
    return oid if await service.database.write(_count_attempt, login, right, now, denied) else None


def _count_attempt(conn: Connection, login: str, right: bool, now: float, denied: Record) -> bool:
    admitted = users.record_attempt(conn, login, denied.source, right=right, now=now)
    if not admitted:
        audit.append(conn, replace(denied, reason="too many tries") if right else denied, now)
    return admitted


def _begin(conn: Connection, oid: str, now: float, record: Record) -> str:
    audit.append(conn, record, now)
    return sessions.begin(conn, oid, now)


async def _consent(
    request: Request, service: Plane, code: str, oid: str, name: str, session: str
) -> Response:
    grant = await service.database.write(_look_up, service, request, code, oid)
    if grant is None:
        return _page(request, "device.html", 404, session=session, trouble=_NO_DEVICE)
    return _consent_page(request, grant, code, name, session)


def _consent_page(
    request: Request, grant: DeviceGrant, code: str, name: str, session: str, trouble: str = ""
) -> Response:
    return _page(
        request,
        "consent.html",
        session=session,
        trouble=trouble,
        grant=grant,
        user_code=code,
        name=name,
        client=clients.NAMES.get(grant.client_id, grant.client_id),
        enrolment=EnrolmentRequest.parse(grant.details) if grant.details else None,
    )


async def _wrong_number(
    request: Request, service: Plane, who: Principal, code: str, grant: DeviceGrant
) -> Response:
    await service.database.write(
        audit.append, _record(request, who.oid, "denied", "wrong match number"), service.clock()
    )
    if grant.state == "denied":
        return _done(request, "Stopped", "The number was wrong three times. Start again on the agent.", 403)
    trouble = "That is not the number on the agent's console. If you do not see the console, deny."
    return _consent_page(request, grant, code, who.name, request.cookies[sessions.COOKIE], trouble)


def _look_up(conn: Connection, service: Plane, request: Request, code: str, oid: str) -> DeviceGrant | None:
    if not _is_known(conn, service, request, code, oid):
        return None
    return device_codes.find(conn, service.master, code, service.clock())


def _is_known(conn: Connection, service: Plane, request: Request, code: str, oid: str) -> bool:
    """Whether there is such a code, waiting or not; one that never was counts as a guess, of which there are few."""
    now = service.clock()
    if not device_codes.guesses_left(conn, source(request), now):
        audit.append(conn, _record(request, oid, "denied", "too many wrong codes"), now)
        return False
    known = device_codes.is_known(conn, service.master, code)
    if not known:
        device_codes.guess_allowed(conn, source(request), now)
    return known


def _approve(conn: Connection, service: Plane, who: Principal, code: str, record: Record) -> DeviceGrant:
    grant = device_codes.approve(conn, service.master, code, who.oid, service.clock())
    audit.append(conn, audit.about_device(record, grant), service.clock())
    return grant


def _deny(conn: Connection, service: Plane, who: Principal, code: str, record: Record) -> None:
    grant = device_codes.deny(conn, service.master, code, who.oid, service.clock())
    audit.append(conn, audit.about_device(record, grant), service.clock())


def _record(request: Request, oid: str, result: str, reason: str = "") -> Record:
    return Record(
        "wherry/signin",
        result,
        actor=oid,
        actor_kind="user" if oid else "",
        source=source(request),
        request_id=request_id(request),
        reason=reason,
    )


async def _form(request: Request) -> dict[str, str]:
    try:
        fields = await form_of(request)
    except TokenError as broken:
        raise ApiError(broken.status, "InvalidForm", str(broken)) from broken
    if not sessions.form_is_ours(plane(request), request, fields.get("form_token", "")):
        raise ApiError(
            403, "FormExpired", "This form is not from this browser, or too old. Open the page again."
        )
    return fields


def _done(request: Request, heading: str, text: str, status: int = 200) -> Response:
    return _page(request, "done.html", status, heading=heading, text=text)


def _page(request: Request, template: str, status: int = 200, session: str = "", **values: Any) -> Response:
    # Before sign-in the cookie is only there to tie forms to a browser; signing in replaces it.
    value = session or request.cookies.get(sessions.COOKIE) or secrets.token_urlsafe(32)
    values = {"trouble": "", **values, "form_token": sessions.form_token(plane(request), value)}
    html = _TEMPLATES.get_template(template).render(values)
    response = HTMLResponse(html, status, headers={"content-security-policy": _CSP})
    if value != request.cookies.get(sessions.COOKIE):
        sessions.set_cookie(response, value)
    return response
