"""What these pages share: the frame, forms of this browser, deeds that are decided and recorded as the API's are.

Every value is text (Jinja escapes all, `rendering.visible` shows what is hidden in it), nothing but our own style sheet
is loaded, no other page may frame them.  A deed needs a form that was made for this very browser and a sign-in of the
last minutes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from jinja2 import Environment, FileSystemLoader
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from wherry.control import audit, authorization, refusals
from wherry.control.access import Access, Routes, public
from wherry.control.audit import Record
from wherry.control.caller import Caller
from wherry.control.identity import rendering, sessions
from wherry.control.pages import words
from wherry.control.plane import caller, plane, request_id, source
from wherry.model.errors import ApiError

P = ParamSpec("P")
T = TypeVar("T")

routes = Routes()

_HERE = Path(__file__).parent / "templates"
_TEMPLATES = Environment(loader=FileSystemLoader(_HERE), autoescape=True, finalize=rendering.visible)
_TEMPLATES.filters |= words.FILTERS
_STYLE = (_HERE / "pages.css").read_text()
_CSP = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"


@routes.get("/pages/style.css", public())
async def style() -> Response:
    """The style sheet of these pages."""
    return PlainTextResponse(_STYLE, media_type="text/css")


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A page in the frame, with forms for this browser."""
    service = plane(request)
    cookie = request.cookies.get(sessions.COOKIE, "")
    values |= {
        "form_token": sessions.form_token(service, cookie),
        "person": caller(request).name,
        "here": "/" + request.url.path.split("/")[1],
        "now": service.clock(),
    }
    html = _TEMPLATES.get_template(template).render(values)
    return HTMLResponse(html, status, headers={"content-security-policy": _CSP})


def refused(request: Request, error: ApiError) -> Response:
    """The page of a refusal: what was refused, and what to do."""
    heading = {403: "You may not do that", 404: "It is not there", 401: "Sign in again"}
    return page(
        request,
        "refused.html",
        error.status,
        heading=heading.get(error.status, "That did not work"),
        error=error,
    )


def signed_in() -> Access:
    """The access of these pages: somebody who signed in with this browser; refusals are pages too."""
    return Access("session", refused=refused)


async def form(request: Request) -> dict[str, str]:
    """The fields of a form that we made for this browser, from somebody who signed in lately."""
    fields = await rendering.form(request)
    if await sessions.principal_of(plane(request), request, fresh=True) is None:
        raise ApiError(401, "SignInAgain", "You signed in more than ten minutes ago; this needs to be you.")
    return fields


def first_row(request: Request) -> int:
    """Which row of a list the page begins with, as the link of the page before says."""
    told = request.query_params.get("from", "0")
    return int(told) if re.fullmatch(r"\d{1,9}", told, re.ASCII) else 0


def asks(request: Request) -> Caller:
    """Who asks, as services take it."""
    return Caller(caller(request), request_id(request), plane(request).clock())


async def do(
    request: Request,
    action: str,
    scope: str,
    deed: Callable[Concatenate[Connection, Caller, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Do something in the person's name: decided, refused and recorded as the same call of the API would be."""
    service, who = plane(request), asks(request)
    decision = await service.database.read(authorization.decide, who.principal, action, scope, who.now)
    record = audit.of(
        who.principal,
        action,
        "allowed" if decision.allowed else "denied",
        scope=scope,
        source=source(request),
        request_id=request_id(request),
        reason=decision.reason,
        assignment=decision.assignment_id or "",
    )
    if not decision.allowed:
        await service.database.write(audit.append, replace(record, status=403), who.now)
        raise refusals.forbidden(who.principal, action, scope)

    def recorded(conn: Connection, record: Record) -> T:
        found = deed(conn, who, *args, **kwargs)
        audit.append(conn, record, who.now)
        return found

    try:
        return await service.database.write(recorded, record)
    except ApiError as wrong:
        told = replace(record, result="refused", status=wrong.status, reason=wrong.code)
        await service.database.write(audit.append, told, who.now)
        raise
