"""The way of a person after the password: to the second factor, to setting one up, or to what waits.

Called by the page of the password and by those of the factors, so that there is one place that says what comes next.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.identity import device_pages, factor_forms, sessions
from wherry.control.identity.rendering import record
from wherry.control.plane import Plane
from wherry.control.services import factors

Next = Literal["factor", "enrol", "whole"]


async def password_known(
    request: Request,
    service: Plane,
    oid: str,
    login: str,
    user_code: str,
    factor: str = "",
    how: str = "password",
) -> Response:
    """Somebody knows the password of `oid`, or has come in another way; `factor` was proven before, if any."""
    told = record(request, oid, "allowed", how if not factor else f"{how}, {factor}")
    value, following = await service.database.write(_begin, service, oid, factor, told)
    if following == "factor":
        return await factor_forms.challenge(request, service, value, oid, user_code)
    if following == "enrol":
        return await factor_forms.offer(request, service, value, oid, user_code)
    return await arrived(request, service, value, oid, login, user_code)


async def arrived(
    request: Request, service: Plane, value: str, oid: str, name: str, user_code: str
) -> Response:
    """A whole session: on to the device that waits, if any, or to the page that was wanted."""
    if user_code:
        return await device_pages.consent(request, service, user_code, oid, name, value)
    response = RedirectResponse(sessions.page_wanted(request), 303)
    sessions.set_cookie(response, value)
    return response


def _begin(conn: Connection, service: Plane, oid: str, factor: str, told: Record) -> tuple[str, Next]:
    now = service.clock()
    audit.append(conn, told, now)
    following: Next = "whole"
    if not factor:
        if factors.has_any(conn, oid):
            following = "factor"
        elif service.settings.second_factor:
            following = "enrol"
    return sessions.begin(conn, oid, now, factor=factor, half=following != "whole"), following
