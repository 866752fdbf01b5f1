"""Microsoft.HybridCompute/privateLinkScopes: scopes, their connections, and what agents are told of them."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, resource
from wherry.control.arm import generic
from wherry.control.arm.request import target_of
from wherry.control.plane import plane
from wherry.control.services import resources
from wherry.control.services.resource_store import Json
from wherry.control.services.types import private_links as types
from wherry.control.services.types.hybrid_compute import MACHINE
from wherry.control.services.types.private_links import CONNECTION, SCOPE
from wherry.control.services.types.registry import Target

routes = Routes(case_insensitive=True)

generic.declare(routes, SCOPE)
generic.declare(routes, CONNECTION)

_RESOURCES = f"{generic.item(SCOPE)}/privateLinkResources"


@routes.get(_RESOURCES, resource(SCOPE.action("read")))
async def list_resources(request: Request) -> Response:
    """What private endpoints can be made for."""
    scope = target_of(request, SCOPE, "/privateLinkResources")
    return JSONResponse({"value": await plane(request).database.read(_resources, scope)})


@routes.get(f"{generic.item(MACHINE)}/privateLinkScopes/current", resource(MACHINE.action("read")))
async def of_machine(request: Request) -> Response:
    """The scope of a machine, as it is to be checked there."""
    machine = target_of(request, MACHINE, "/privateLinkScopes/current")
    return JSONResponse(await plane(request).database.read(_validation, machine))


def _resources(conn: Connection, scope: Target) -> list[Json]:
    return types.resources_of(resources.require(conn, scope))


def _validation(conn: Connection, machine: Target) -> Json:
    return types.validation_of(conn, types.of_machine(conn, resources.require(conn, machine)))
