"""The page *Access*: who reaches which target now, until when and why; consents beforehand; past grants; and taking
access away.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wherry.control import authorization
from wherry.control.access import Routes
from wherry.control.caller import Caller
from wherry.control.pages.frame import asks, do, first_row, form, page, signed_in
from wherry.control.plane import plane
from wherry.control.services import access_questions, overviews, role_assignments, role_requests
from wherry.control.services.resource_store import Json
from wherry.model.errors import ApiError

routes = Routes()


@routes.get("/access", signed_in())
async def overview(request: Request) -> Response:
    """Every target that the person may know of, and consents that stand."""
    database, who = plane(request).database, asks(request)
    targets = await database.read(overviews.targets, who, first_row(request))
    values: Json = {
        "targets": targets.rows,
        "following": targets.following,
        "standing": await database.read(overviews.standing, who),
        "past": await database.read(overviews.past, who),
        "revoked": "revoked" in request.query_params,
    }
    return page(request, "access.html", **values)


@routes.get("/access/revoke", signed_in())
async def ask(request: Request) -> Response:
    """The question before access is taken away: from whom, and what ends with it."""
    told = await plane(request).database.read(_holder, asks(request), request.query_params.get("name", ""))
    return page(request, "revoke.html", holder=told)


@routes.post("/access/revoke", signed_in())
async def revoke(request: Request) -> Response:
    """Remove the role assignment, as the API does."""
    fields = await form(request)
    row = await plane(request).database.read(_assignment, asks(request), fields.get("name", ""))
    await do(request, overviews.REMOVE_ACCESS, row.scope.rstrip("/"), _remove, row.scope, row.name)
    return RedirectResponse("/access?revoked", 303)


def _assignment(conn: Connection, caller: Caller, name: str) -> Row[Any]:
    """An assignment that the caller may read; 404 for any other."""
    row = role_assignments.get(conn, name)
    may = row is not None and authorization.allowed(
        conn, caller.principal, overviews.READ_ACCESS, [row.scope], caller.now
    )
    if row is None or not may:
        raise ApiError(
            404, "RoleAssignmentNotFound", "There is no such access any more, or you may not see it."
        )
    return row


def _holder(conn: Connection, caller: Caller, name: str) -> Json:
    row = _assignment(conn, caller, name)
    return access_questions.assignment(conn, row)


def _remove(conn: Connection, _caller: Caller, scope: str, name: str) -> None:
    role_requests.delete(conn, scope, name)
