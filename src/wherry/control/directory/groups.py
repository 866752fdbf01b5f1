"""Groups and their members."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes
from wherry.control.arm.request import body_of, caller_of
from wherry.control.caller import Caller
from wherry.control.directory import shapes
from wherry.control.directory.request import BASE, bad, listed, may, text
from wherry.control.plane import plane
from wherry.control.services import groups, memberships, principals
from wherry.control.services.resource_store import Json
from wherry.model import ids

routes = Routes(BASE, case_insensitive=True)


@routes.get("/groups", may("groups/read"))
async def list_groups(request: Request) -> Response:
    """All groups, or those that `$filter` selects."""
    return await listed(request, lambda conn: [shapes.group(one) for one in groups.everything(conn)])


@routes.post("/groups", may("groups/write"))
async def create_group(request: Request) -> Response:
    """A new, empty group."""
    body = await body_of(request)
    made = await plane(request).database.write(_create, caller_of(request), body)
    return JSONResponse(made, 201)


@routes.get("/groups/{group}", may("groups/read"))
async def get_group(request: Request, group: str) -> Response:
    """A group by object id."""
    return JSONResponse(shapes.group(await plane(request).database.read(groups.require, group)))


@routes.patch("/groups/{group}", may("groups/write"))
async def change_group(request: Request, group: str) -> Response:
    """Another name or description."""
    body = await body_of(request)
    await plane(request).database.write(_change, caller_of(request), group, body)
    return Response(status_code=204)


@routes.delete("/groups/{group}", may("groups/delete"))
async def delete_group(request: Request, group: str) -> Response:
    """End a group with its role assignments; its members lose what they had by it, at once."""
    await plane(request).database.write(_delete, caller_of(request), group)
    return Response(status_code=204)


@routes.get("/groups/{group}/members", may("groups/read"))
async def list_members(request: Request, group: str) -> Response:
    """The direct members."""
    return await listed(request, lambda conn: _members(conn, groups.members(conn, _oid(conn, group))))


@routes.get("/groups/{group}/transitiveMembers", may("groups/read"))
async def list_all_members(request: Request, group: str) -> Response:
    """The members, and those of groups among them."""
    return await listed(
        request, lambda conn: _members(conn, sorted(memberships.members_of(conn, _oid(conn, group))))
    )


@routes.get("/groups/{group}/owners", may("groups/read"))
async def list_owners(request: Request, group: str) -> Response:
    """Nobody: groups are owned by nobody here, roles on everything decide who changes them."""
    await plane(request).database.read(groups.require, group)
    return JSONResponse({"value": []})


@routes.post("/groups/{group}/members/$ref", may("groups/write"))
async def add_member(request: Request, group: str) -> Response:
    """Add the principal that `@odata.id` names."""
    told = str((await body_of(request)).get("@odata.id", ""))
    member = told.rpartition("/")[2].lower()
    if not ids.GUID.match(member):
        raise bad("'@odata.id' must end with an object id.", "@odata.id")
    await plane(request).database.write(_add, caller_of(request), group, member)
    return Response(status_code=204)


@routes.delete("/groups/{group}/members/{member}/$ref", may("groups/write"))
async def remove_member(request: Request, group: str, member: str) -> Response:
    """Take a member out."""
    await plane(request).database.write(_remove, caller_of(request), group, member.lower())
    return Response(status_code=204)


@routes.post("/groups/{group}/getMemberGroups", may("groups/read"))
async def get_member_groups(request: Request, group: str) -> Response:
    """The groups that this one is in, directly or through others."""
    found = await plane(request).database.read(groups.require, group)
    within = await plane(request).database.read(memberships.groups_of, found.oid)
    return JSONResponse({"value": sorted(within)})


def _oid(conn: Connection, group: str) -> str:
    return groups.require(conn, group).oid


def _members(conn: Connection, oids: list[str]) -> list[Json]:
    found = [shapes.anything(conn, oid) for oid in oids]
    return [one for one in found if one is not None]


def _create(conn: Connection, caller: Caller, body: Json) -> Json:
    name = text(body, "displayName", required=True) or ""
    nickname = text(body, "mailNickname", longest=64) or name
    oid = groups.create(conn, name, nickname, text(body, "description", longest=1024), caller.now)
    principals.account(conn, caller, "group-created", oid, name=name)
    return shapes.group(groups.require(conn, oid))


def _change(conn: Connection, caller: Caller, group: str, body: Json) -> None:
    found = groups.require(conn, group)
    description = text(body, "description", longest=1024) if "description" in body else found.description
    groups.change(conn, found.oid, text(body, "displayName") or found.name, description)
    principals.account(conn, caller, "group-changed", found.oid)


def _delete(conn: Connection, caller: Caller, group: str) -> None:
    found = groups.require(conn, group)
    groups.delete_group(conn, found.oid, caller.now)
    principals.account(conn, caller, "group-deleted", found.oid, name=found.name)


def _add(conn: Connection, caller: Caller, group: str, member: str) -> None:
    found, added = groups.require(conn, group), principals.require(conn, member)
    groups.add_member(conn, found.oid, added.oid, caller.now)
    principals.account(conn, caller, "member-added", found.oid, member=added.oid)


def _remove(conn: Connection, caller: Caller, group: str, member: str) -> None:
    found = groups.require(conn, group)
    groups.remove_member(conn, found.oid, member)
    principals.account(conn, caller, "member-removed", found.oid, member=member)
