"""The page *Registered agents*: state, version, last sign of life, host, work; and unregistering, after a question."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wherry.control.access import Routes
from wherry.control.caller import Caller
from wherry.control.pages.frame import asks, do, first_row, form, page, signed_in
from wherry.control.plane import plane
from wherry.control.services import overviews, resources
from wherry.control.services.overviews import AgentLine
from wherry.control.services.types import registry
from wherry.control.services.types.storage_mover import AGENT

routes = Routes()


@routes.get("/agents", signed_in())
async def list_agents(request: Request) -> Response:
    """All agents that the person may see."""
    found = await plane(request).database.read(overviews.agents, asks(request), first_row(request))
    gone = request.query_params.get("unregistered", "")[:64]
    return page(request, "agents.html", agents=found.rows, following=found.following, gone=gone)


@routes.get("/agents/unregister", signed_in())
async def ask(request: Request) -> Response:
    """The question before an agent is unregistered: what goes with it."""
    found = await _agent(request, request.query_params.get("id", ""))
    return page(request, "unregister.html", agent=found)


@routes.post("/agents/unregister", signed_in())
async def unregister(request: Request) -> Response:
    """Delete the agent, as the API does."""
    fields = await form(request)
    found = await _agent(request, fields.get("id", ""))
    await do(request, AGENT.action("delete"), found.id, _delete, found.id)
    return RedirectResponse(f"/agents?unregistered={found.name}", 303)


async def _agent(request: Request, agent_id: str) -> AgentLine:
    return await plane(request).database.read(overviews.agent, asks(request), agent_id)


def _delete(conn: Connection, caller: Caller, agent_id: str) -> None:
    resources.delete(conn, caller, registry.target(agent_id))
