"""Support bundles of agents: to ask for one, to see which there are, to fetch one, to forget one.

To fetch one is an action of its own, which no role of readers has; each asking and fetching is in the audit trail.
"""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from wherry.control import bundles
from wherry.control.access import Routes, resource
from wherry.control.arm import generic
from wherry.control.arm.request import caller_of, target_of
from wherry.control.caller import Caller
from wherry.control.plane import Plane, plane
from wherry.control.services import agent_bundles, resources
from wherry.control.services.resource_store import Json
from wherry.control.services.types.registry import Target
from wherry.control.services.types.storage_mover import AGENT
from wherry.model.errors import ApiError

routes = Routes(case_insensitive=True)

REQUEST = AGENT.action("requestSupportBundle/action")
DOWNLOAD = AGENT.action("supportBundles/download/action")
DELETE = AGENT.action("supportBundles/delete")
DAY = 86400.0
_ALL, _ASK = "/supportBundles", "/requestSupportBundle"


@routes.post(generic.item(AGENT) + _ASK, resource(REQUEST))
async def request_bundle(request: Request) -> Response:
    """Ask the agent for one: it brings it at its next contact."""
    service = plane(request)
    keep = service.settings.bundle_keep_days * DAY
    found = await service.database.write(_asked, caller_of(request), target_of(request, AGENT, _ASK), keep)
    return JSONResponse(found)


@routes.get(generic.item(AGENT) + _ALL, resource(AGENT.action("supportBundles/read")))
async def list_bundles(request: Request) -> Response:
    """Those that were asked for, the latest first."""
    found = await plane(request).database.read(_listed, target_of(request, AGENT, _ALL))
    return JSONResponse({"value": found})


@routes.post(generic.item(AGENT) + _ALL + "/{bundle}/download", resource(DOWNLOAD))
async def download(request: Request, bundle: str) -> Response:
    """The file."""
    service, target = plane(request), target_of(request, AGENT, f"{_ALL}/{bundle}/download")
    await service.database.write(_ready, target, bundle)
    return file_of(service, target.id.name, bundle)


@routes.delete(generic.item(AGENT) + _ALL + "/{bundle}", resource(DELETE))
async def delete(request: Request, bundle: str) -> Response:
    """Forget one, or take the asking back."""
    target = target_of(request, AGENT, f"{_ALL}/{bundle}")
    await plane(request).database.write(_removed, target, bundle)
    return Response(status_code=204)


def file_of(service: Plane, agent: str, bundle: str) -> Response:
    """The file of a bundle that is there, to be kept and not to be shown."""
    path = bundles.store_of(service).path(bundle)
    if not path.is_file():
        raise ApiError(404, "BundleNotFound", "The file of this support bundle is lost. Ask for another one.")
    return FileResponse(path, media_type="application/gzip", filename=f"{agent}-{bundle}.tar.gz")


def _asked(conn: Connection, caller: Caller, target: Target, keep: float) -> Json:
    return agent_bundles.request(conn, caller, resources.require(conn, target), keep)


def _listed(conn: Connection, target: Target) -> list[Json]:
    return agent_bundles.listed(conn, resources.require(conn, target).key)


def _ready(conn: Connection, target: Target, bundle: str) -> None:
    agent_bundles.ready(conn, resources.require(conn, target).key, bundle)


def _removed(conn: Connection, target: Target, bundle: str) -> None:
    agent_bundles.remove(conn, resources.require(conn, target).key, bundle)
