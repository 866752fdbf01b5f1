"""Who may do what, and why: two questions at any scope, for whoever may read role assignments there.

`GET {scope}/providers/Microsoft.Authorization/accessDecisions?principal=…&action=…` and `…/accessHolders`.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, resource
from wherry.control.arm.request import caller_of, check_version, path_of
from wherry.control.caller import Caller
from wherry.control.plane import plane
from wherry.control.services import access_questions, scopes
from wherry.control.services.resource_store import Json
from wherry.control.services.role_requests import PROVIDER
from wherry.model.errors import ApiError

routes = Routes(case_insensitive=True)

_READ = f"{PROVIDER}/roleAssignments/read"
_ACTION = re.compile(r"[A-Za-z0-9.]+(/[A-Za-z0-9.]+)+")


async def decisions(request: Request) -> Response:
    """Whether a principal may do an action here, by which assignment, or what is missing."""
    scope = await _scope(request)
    principal, action = _query(request, "principal"), _query(request, "action")
    if not _ACTION.fullmatch(action):
        raise ApiError(
            400, "InvalidQueryParameter", "'action' must be one action, such as Provider/type/read."
        )
    data = request.query_params.get("data", "false").lower()
    if data not in ("true", "false"):
        raise ApiError(400, "InvalidQueryParameter", "'data' must be true or false.")
    service = plane(request)
    found = await service.database.read(
        access_questions.why, principal, action, scope, service.clock(), data=data == "true"
    )
    return JSONResponse(found)


async def holders(request: Request) -> Response:
    """Everybody who can reach the data here at this moment; of an endpoint, the data of its container."""
    scope, asks = await _scope(request), caller_of(request)
    return JSONResponse(await plane(request).database.read(_holders, asks, scope))


for _root in ("", "/{scope:path}"):
    for _name, _endpoint in (("accessDecisions", decisions), ("accessHolders", holders)):
        routes.get(f"{_root}/providers/{PROVIDER}/{_name}", resource(_READ))(_endpoint)


def _holders(conn: Connection, asks: Caller, scope: str) -> Json:
    place = access_questions.place_of(conn, scope)
    if place != scope:
        asks.authorize(conn, _READ, place)
    return access_questions.who(conn, place, asks.now)


async def _scope(request: Request) -> str:
    check_version(request, PROVIDER)
    service, path = plane(request), path_of(request)
    scope = path[: path.lower().rindex(f"/providers/{PROVIDER}/".lower())]
    return await service.database.read(scopes.canonical, scope, service.subscription)


def _query(request: Request, name: str) -> str:
    value = request.query_params.get(name, "").strip()
    if not value or len(value) > 512:
        raise ApiError(400, "InvalidQueryParameter", f"The query parameter '{name}' is required.")
    return value
