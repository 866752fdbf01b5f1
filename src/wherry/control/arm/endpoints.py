"""Microsoft.StorageMover/storageMovers/endpoints: where jobs read and write."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from wherry.control.access import Routes, resource
from wherry.control.arm import generic
from wherry.control.arm.request import answer, body_of, caller_of, conditions_of, target_of
from wherry.control.plane import Plane, plane
from wherry.control.services import endpoints
from wherry.control.services.endpoints import VaultOf
from wherry.control.services.types.storage_mover import ENDPOINT
from wherry.control.vault import host

routes = Routes(case_insensitive=True)

generic.declare(routes, ENDPOINT, "put", "patch")


@routes.put(generic.item(ENDPOINT), resource(ENDPOINT.action("write")))
async def put_endpoint(request: Request) -> Response:
    """Make an endpoint; the secrets that it names are the caller's to read."""
    target, body = target_of(request, ENDPOINT), await body_of(request)
    return answer(
        await plane(request).database.write(
            endpoints.put, caller_of(request), target, body, conditions_of(request), _vaults(plane(request))
        )
    )


@routes.patch(generic.item(ENDPOINT), resource(ENDPOINT.action("write")))
async def patch_endpoint(request: Request) -> Response:
    """Change an endpoint; the secrets that it names are the caller's to read."""
    target, body = target_of(request, ENDPOINT), await body_of(request)
    return answer(
        await plane(request).database.write(
            endpoints.patch, caller_of(request), target, body, conditions_of(request), _vaults(plane(request))
        )
    )


def _vaults(service: Plane) -> VaultOf:
    return lambda name: host.ours(service, name)
