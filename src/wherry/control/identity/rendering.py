"""What all pages for people share: templates, forms of one browser, headers, words for a refusal.

A page runs no script, but for those that speak with a passkey: they may load the one file of ours.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from wherry.control.audit import Record
from wherry.control.identity import sessions
from wherry.control.identity.oauth import TokenError, form_of
from wherry.control.plane import plane, request_id, source
from wherry.control.services import upstream
from wherry.model.errors import ApiError

Handler = Callable[[Request], Awaitable[Response]]

HERE = Path(__file__).parent / "templates"
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def visible(value: Any) -> Any:
    r"""Text from elsewhere with what nobody sees, or what reorders the words beside it, shown as `\uNNNN`.

    A name must not make a page say something else than it says.  Called by the templates for every value.
    """
    if type(value) is not str:
        return value
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, finalize=visible
)
_CSP = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"


def as_page(handler: Handler) -> Handler:
    """What a person meets is a page, when something is refused too; it may offer other ways to sign in."""

    @wraps(handler)
    async def answered(request: Request) -> Response:
        try:
            request.state.ways = await plane(request).database.read(upstream.enabled)
            return await handler(request)
        except ApiError as refused:
            return done(request, "That did not work", refused.message, refused.status)

    return answered


async def form(request: Request) -> dict[str, str]:
    """The fields of a form that we made for this very browser; 403 for any other."""
    try:
        fields = await form_of(request)
    except TokenError as broken:
        raise ApiError(broken.status, "InvalidForm", str(broken)) from broken
    if not sessions.form_is_ours(plane(request), request, fields.get("form_token", "")):
        raise ApiError(
            403, "FormExpired", "This form is not from this browser, or too old. Open the page again."
        )
    return fields


def record(
    request: Request, oid: str, result: str, reason: str = "", action: str = "wherry/signin"
) -> Record:
    """A record for the audit trail about what a person did on a page."""
    return Record(
        action,
        result,
        actor=oid,
        actor_kind="user" if oid else "",
        source=source(request),
        request_id=request_id(request),
        reason=reason,
    )


def done(request: Request, heading: str, text: str, status: int = 200) -> Response:
    """A page that only tells something."""
    return page(request, "done.html", status, heading=heading, text=text)


def page(
    request: Request,
    template: str,
    status: int = 200,
    session: str = "",
    *,
    script: bool = False,
    **values: Any,
) -> Response:
    """A page with forms for this browser; `session` is a cookie's value that the browser does not have yet."""
    # Before sign-in the cookie is only there to tie forms to a browser; signing in replaces it.
    value = session or request.cookies.get(sessions.COOKIE) or secrets.token_urlsafe(32)
    ways = getattr(request.state, "ways", ())
    values = {"trouble": "", "ways": ways, **values, "form_token": sessions.form_token(plane(request), value)}
    html = _TEMPLATES.get_template(template).render(values)
    policy = f"{_CSP}; script-src 'self'" if script else _CSP
    response = HTMLResponse(
        html, status, headers={"content-security-policy": policy, "cache-control": "no-store"}
    )
    if value != request.cookies.get(sessions.COOKIE):
        sessions.set_cookie(response, value)
    return response
