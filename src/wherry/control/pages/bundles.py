"""The page *Support bundles* of an agent: ask for one, see what became of it, fetch it."""

from __future__ import annotations

from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wherry.control.access import Routes
from wherry.control.arm.agent_bundles import DAY, DOWNLOAD, REQUEST, file_of
from wherry.control.caller import Caller
from wherry.control.pages.frame import asks, do, form, page, signed_in
from wherry.control.plane import plane
from wherry.control.services import agent_bundles, overviews
from wherry.control.services.overviews import AgentLine
from wherry.control.services.resource_store import Json
from wherry.control.services.types.storage_mover import AGENT

routes = Routes()


@routes.get("/agents/bundles", signed_in())
async def list_bundles(request: Request) -> Response:
    """The bundles of one agent."""
    found, bundles = await plane(request).database.read(
        _read, asks(request), request.query_params.get("id", "")
    )
    return page(request, "bundles.html", agent=found, bundles=bundles)


@routes.post("/agents/bundles", signed_in())
async def ask(request: Request) -> Response:
    """Ask for a bundle, as the API does."""
    service, agent_id = plane(request), (await form(request)).get("id", "")
    found = await service.database.read(overviews.agent, asks(request), agent_id)
    keep = service.settings.bundle_keep_days * DAY
    await do(request, REQUEST, found.id, _ask, found.id, keep)
    return RedirectResponse(f"/agents/bundles?{urlencode({'id': found.id})}", 303)


@routes.post("/agents/bundles/download", signed_in())
async def download(request: Request) -> Response:
    """Fetch a bundle, as the API does."""
    fields = await form(request)
    found = await plane(request).database.read(overviews.agent, asks(request), fields.get("id", ""))
    bundle = fields.get("bundle", "")
    await do(request, DOWNLOAD, found.id, _ready, found.id, bundle)
    return file_of(plane(request), found.name, bundle)


def _read(conn: Connection, caller: Caller, agent_id: str) -> tuple[AgentLine, list[Json]]:
    found = overviews.read(conn, caller, AGENT, agent_id)
    return overviews.agent(conn, caller, agent_id), agent_bundles.listed(conn, found.key)


def _ask(conn: Connection, caller: Caller, agent_id: str, keep: float) -> Json:
    return agent_bundles.request(conn, caller, overviews.read(conn, caller, AGENT, agent_id), keep)


def _ready(conn: Connection, caller: Caller, agent_id: str, bundle: str) -> None:
    agent_bundles.ready(conn, overviews.read(conn, caller, AGENT, agent_id).key, bundle)
