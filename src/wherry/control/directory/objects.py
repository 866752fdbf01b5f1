"""Principals of any kind by object id: what role assignments are shown with."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes
from wherry.control.arm.request import body_of
from wherry.control.directory import shapes
from wherry.control.directory.request import BASE, bad, may
from wherry.control.plane import plane
from wherry.control.services import memberships, principals
from wherry.control.services.resource_store import Json

routes = Routes(BASE, case_insensitive=True)

_MOST = 1000
_READ = may("objects/read")


@routes.post("/directoryObjects/getByIds", _READ)
async def get_by_ids(request: Request) -> Response:
    """Those that there are, of up to a thousand; `types` narrows to kinds."""
    body = await body_of(request)
    oids = _texts(body, "ids")
    kinds = {f"{shapes.TYPE}{kind}".lower() for kind in _texts(body, "types")}
    found = await plane(request).database.read(_all, oids)
    return JSONResponse(
        {"value": [one for one in found if not kinds or str(one["@odata.type"]).lower() in kinds]}
    )


@routes.get("/directoryObjects/{oid}", _READ)
async def get_object(request: Request, oid: str) -> Response:
    """A principal by object id."""
    found = await plane(request).database.read(shapes.anything, oid)
    if found is None:
        raise principals.absent(oid)
    return JSONResponse(found)


@routes.post("/directoryObjects/{oid}/checkMemberGroups", _READ)
async def check_member_groups(request: Request, oid: str) -> Response:
    """Which of `groupIds` a principal is in, directly or through others."""
    asked = _texts(await body_of(request), "groupIds")
    within = await plane(request).database.read(memberships.groups_of, oid.lower())
    return JSONResponse({"value": [one for one in asked if one.lower() in within]})


def _texts(body: Json, name: str) -> list[str]:
    told = body.get(name) or []
    if not isinstance(told, list) or len(told) > _MOST or not all(isinstance(one, str) for one in told):
        raise bad(f"'{name}' must be a list of at most {_MOST} texts.", name)
    return told


def _all(conn: Connection, oids: list[str]) -> list[Json]:
    found = [shapes.anything(conn, oid) for oid in oids]
    return [one for one in found if one is not None]
