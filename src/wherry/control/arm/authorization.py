"""Microsoft.Authorization: role definitions and role assignments, at any scope."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, resource
from wherry.control.arm.request import body_of, caller_of, check_version, filter_of, page, path_of
from wherry.control.plane import plane
from wherry.control.services import role_requests, scopes
from wherry.control.services.role_requests import PROVIDER

_ASSIGNMENTS = f"/providers/{PROVIDER}/roleAssignments"
_DEFINITIONS = f"/providers/{PROVIDER}/roleDefinitions"

routes = Routes(case_insensitive=True)


async def put_assignment(request: Request) -> Response:
    """201 for a new one, 200 for one that is there already."""
    check_version(request, PROVIDER)
    service, body = plane(request), await body_of(request)
    made, new = await service.database.write(
        role_requests.put, caller_of(request), _scope(request), _name(request), body, service.subscription
    )
    return JSONResponse(made, 201 if new else 200)


async def get_assignment(request: Request) -> Response:
    """An assignment at its own scope."""
    check_version(request, PROVIDER)
    return JSONResponse(
        await plane(request).database.read(role_requests.get, _scope(request), _name(request))
    )


async def delete_assignment(request: Request) -> Response:
    """200 with what it was, 204 for nothing."""
    check_version(request, PROVIDER)
    gone = await plane(request).database.write(role_requests.delete, _scope(request), _name(request))
    return Response(status_code=204) if gone is None else JSONResponse(gone)


async def list_assignments(request: Request) -> Response:
    """Those at the scope, above and below it; `$filter` narrows."""
    check_version(request, PROVIDER)
    service = plane(request)
    scope = await service.database.read(scopes.canonical, _scope(request), service.subscription)
    return page(request, await service.database.read(role_requests.list_at, scope, filter_of(request)), None)


async def list_definitions(request: Request) -> Response:
    """All roles; `$filter` by `roleName` or `type`."""
    check_version(request, PROVIDER)
    return page(request, role_requests.definitions(_scope(request), filter_of(request)), None)


async def get_definition(request: Request) -> Response:
    """A role by its GUID."""
    check_version(request, PROVIDER)
    return JSONResponse(role_requests.definition(_scope(request), _name(request)))


for _root in ("", "/{scope:path}"):
    for _method, _path, _verb, _endpoint in (
        ("PUT", f"{_ASSIGNMENTS}/{{name}}", "roleAssignments/write", put_assignment),
        ("GET", f"{_ASSIGNMENTS}/{{name}}", "roleAssignments/read", get_assignment),
        ("DELETE", f"{_ASSIGNMENTS}/{{name}}", "roleAssignments/delete", delete_assignment),
        ("GET", _ASSIGNMENTS, "roleAssignments/read", list_assignments),
        ("GET", _DEFINITIONS, "roleDefinitions/read", list_definitions),
        ("GET", f"{_DEFINITIONS}/{{name}}", "roleDefinitions/read", get_definition),
    ):
        routes.route(_method, f"{_root}{_path}", resource(f"{PROVIDER}/{_verb}"))(_endpoint)


def _scope(request: Request) -> str:
    """What comes before the last provider of the path."""
    path = path_of(request)
    return path[: path.lower().rindex(f"/providers/{PROVIDER}/".lower())]


def _name(request: Request) -> str:
    return str(request.path_params["name"])
