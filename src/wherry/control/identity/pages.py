"""The pages on which people sign in with a password, change it, and sign out.

What follows the password is `passage`; every form carries a token made for this very browser.  A first password opens
nothing but the page that changes it, and that for a day only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from wherry.control import audit
from wherry.control.access import Routes, public
from wherry.control.audit import Record
from wherry.control.identity import passage, sessions
from wherry.control.identity.rendering import HERE, as_page, form, page, record
from wherry.control.plane import Plane, plane, source
from wherry.control.services import factors, principals, users
from wherry.trust import passwords

routes = Routes()

_STYLE = (HERE / "style.css").read_text()
_WRONG = (
    "User name or password is wrong, or too many tries: then wait a little. A first password that was not changed in "
    "time opens nothing any more: have it reset."
)


@routes.get("/signin/style.css", public())
async def style() -> Response:
    """The style sheet of these pages."""
    return PlainTextResponse(_STYLE, media_type="text/css")


@routes.get("/signin", public())
@as_page
async def signin_page(request: Request) -> Response:
    """The sign-in form."""
    return page(request, "signin.html", user_code="")


@routes.post("/signin", public())
@as_page
async def sign_in(request: Request) -> Response:
    """Check name and password; a new session on success, and on to the second factor or the device that waits."""
    service = plane(request)
    fields = await form(request)
    user_code = fields.get("user_code", "")[:32]
    oid = await _check_password(request, service, fields.get("login", ""), fields.get("password", ""))
    if oid is None:
        return page(request, "signin.html", 401, user_code=user_code, trouble=_WRONG)
    if await service.database.read(users.must_change, oid):
        trouble = "This password was good for one time. Choose one of your own."
        return page(request, "password.html", user_code=user_code, login=fields["login"], trouble=trouble)
    return await passage.password_known(request, service, oid, fields["login"], user_code)


@routes.get("/password", public())
async def password_page(request: Request) -> Response:
    """The form for another password."""
    return page(request, "password.html", user_code="", login="")


@routes.post("/password", public())
@as_page
async def change_password(request: Request) -> Response:
    """Whoever knows the password of a user may change it, with the second factor if there is one.

    All sign-ins end, and a new one begins.
    """
    service = plane(request)
    fields = await form(request)
    login, user_code = fields.get("login", "")[:256], fields.get("user_code", "")[:32]
    new = fields.get("new", "")
    trouble = passwords.weakness(new, login.strip())
    if new != fields.get("again", ""):
        trouble = "The two new passwords differ."
    elif new == fields.get("password", ""):
        trouble = "Choose another password than the current one."
    if trouble:
        return page(request, "password.html", 400, user_code=user_code, login=login, trouble=trouble)
    oid = await _check_password(request, service, login, fields.get("password", ""))
    if oid is None:
        return page(request, "password.html", 401, user_code=user_code, login=login, trouble=_WRONG)
    here = await sessions.of(service, request)
    factor = here.factor if here is not None and here.oid == oid and here.whole and here.fresh else ""
    if not factor and await service.database.read(_factor_first, oid):
        trouble = "Sign in with your second factor first, then change the password."
        return page(request, "signin.html", 403, user_code=user_code, trouble=trouble)
    verifier = await service.hashing.run(source(request), partial(passwords.protect, new))
    changed = record(request, oid, "allowed", action="wherry/directory/password")
    await service.database.write(_set_password, oid, verifier, service.clock(), changed)
    return await passage.password_known(request, service, oid, login, user_code, factor)


@routes.post("/signout", public())
@as_page
async def sign_out(request: Request) -> Response:
    """End the session."""
    await form(request)
    service = plane(request)
    known = await sessions.of(service, request)
    told = record(request, known.oid if known else "", "allowed", action="wherry/signout")
    value = request.cookies.get(sessions.COOKIE, "")
    await service.database.write(_end, value, told if known else None, service.clock())
    response = RedirectResponse("/signin", 303)
    response.delete_cookie(sessions.COOKIE, path="/", secure=True, httponly=True)
    return response


def _end(conn: Connection, value: str, told: Record | None, now: float) -> None:
    sessions.end(conn, value)
    if told is not None:
        audit.append(conn, told, now)


def _factor_first(conn: Connection, oid: str) -> bool:
    """Whether the password alone does not change the password: but a first one has to be."""
    return factors.has_any(conn, oid) and not users.must_change(conn, oid)


def _set_password(conn: Connection, oid: str, verifier: str, now: float, told: Record) -> None:
    users.set_password(conn, oid, verifier, now, must_change=False)
    principals.end_sign_ins(conn, oid)
    audit.append(conn, told, now)


async def _check_password(request: Request, service: Plane, login: str, password: str) -> str | None:
    now = service.clock()
    if not await service.database.read(users.may_try, source(request), now):
        return None
    first = service.settings.first_password_seconds
    oid, verifier = await service.database.read(users.verifier_of, login, now, first)
    right = await service.hashing.run(source(request), partial(passwords.matches, verifier, password))
    denied = record(request, oid or "", "denied", "wrong password")
    return oid if await service.database.write(_count_attempt, login, right, now, denied) else None


def _count_attempt(conn: Connection, login: str, right: bool, now: float, denied: Record) -> bool:
    admitted = users.record_attempt(conn, login, denied.source, right=right, now=now)
    if not admitted:
        audit.append(conn, replace(denied, reason="too many tries") if right else denied, now)
    return admitted
