"""Routes by which an agent comes, says that it is there, and goes."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from wherry.control.access import Routes, agent, enrolment
from wherry.control.agents.messages import answers, body_of, caller_of, facts_of, holding, text
from wherry.control.plane import caller, plane, source
from wherry.control.services import (
    agent_bundles,
    agent_keys,
    agent_trust,
    agent_versions,
    packages,
    presence,
    registration,
    resources,
)
from wherry.control.services.ledger import Holder
from wherry.model import ids
from wherry.model.errors import ApiError
from wherry.model.wire import Json
from wherry.trust.enrolment import EnrolmentRequest

routes = Routes("/agent/v1")


@routes.put("/registration", enrolment())
async def register(request: Request) -> Response:
    """Register the agent that the enrolment token was given for."""
    service = plane(request)
    body = await body_of(request)
    key = body.get("key")
    if not isinstance(key, dict):
        raise ApiError(400, "InvalidKey", "The agent's public key is expected as a JSON Web Key.")
    detail = {
        "type": "storagemover_agent",
        "mover": text(body, "mover", 2048),
        "agentName": text(body, "agent", 64),
        "hostName": text(body, "hostName", 128, ""),
        "agentVersion": text(body, "version", 64, ""),
        "privateLinkScope": text(body, "privateLinkScope", 2048, ""),
    }
    vm = text(body, "vmUuid", 64, "")
    if vm and not ids.GUID.fullmatch(vm):
        raise ApiError(400, "InvalidRequestContent", "'vmUuid' must be a UUID.")
    notice = agent_versions.notice_for(service.state, detail["agentVersion"])
    agent_versions.refuse_unsupported(notice)
    with answers():
        made = await service.database.write(
            registration.register,
            caller_of(request),
            EnrolmentRequest.parse([detail]),
            key,
            agent_versions.noted(facts_of(body), notice),
            vm,
            service.clock() + service.settings.offline_seconds,
            tags=resources.tags_of(body.get("tags")),
            address=source(request),
            owners=service.settings.register_needs_owner,
        )
    joined = await service.database.write(
        agent_trust.state_of, service.master, made.identity.oid, service.clock()
    )
    return JSONResponse(
        {
            "agentId": made.agent_id,
            "machineId": made.machine_id,
            "principalId": made.identity.oid,
            "clientId": made.identity.client_id,
            "tenantId": service.tenant,
            "tokenEndpoint": f"{service.authority}/oauth2/v2.0/token",
            "issuer": service.issuer,
            "heartbeatSeconds": service.settings.heartbeat_seconds,
            "joinState": joined,
        }
    )


@routes.delete("/registration", agent())
async def unregister(request: Request) -> Response:
    """The agent gives its identity back, with its resource and its machine."""
    with answers():
        await plane(request).database.write(registration.unregister, caller_of(request))
    return Response(status_code=204)


@routes.post("/heartbeat", agent(routine=True))
async def heartbeat(request: Request) -> Response:
    """The agent is there; the answer says when it is wanted again."""
    service = plane(request)
    body = await body_of(request)
    now = service.clock()
    jkt = caller(request).jkt or ""
    version = text(body, "version", 64, "")
    notice = agent_versions.notice_for(service.state, version)
    later = agent_versions.offered_to(service.state, version)
    facts = agent_versions.noted(facts_of(body), notice)
    change, works, bundle = await holding(
        request, _beat, jkt, facts, now, now + service.settings.offline_seconds
    )
    if not works and not later:
        agent_versions.refuse_unsupported(notice)
    told: Json = {"interval": service.settings.heartbeat_seconds}
    if change:
        told["changeKey"] = True
    if bundle:
        told["bundle"] = bundle
    if notice:
        told["notice"] = notice.to_json()
    if later:
        told["package"] = str(later)
    return JSONResponse(told)


@routes.get("/packages/{version}", agent(routine=True))
async def package(request: Request, version: str) -> Response:
    """The package of a version of the agent's program; whoever asks for ranges gets those."""
    state = plane(request).state
    found = state and packages.file_of(state, version)
    if not found:
        raise ApiError(404, "PackageNotFound", "No such version is offered.")
    return FileResponse(found, media_type="application/octet-stream")


@routes.post("/keys", agent())
async def offer_key(request: Request) -> Response:
    """The agent offers the key that is to follow the one that it proves this with."""
    offered = text(await body_of(request), "offer", 4096)
    await plane(request).database.write(agent_keys.offer, caller_of(request), offered)
    return Response(status_code=204)


def _beat(
    conn: Connection, holder: Holder, jkt: str, facts: Json, now: float, offline_at: float
) -> tuple[bool, bool, str | None]:
    """Whether its key is to be changed, whether it is in the middle of work, which support bundle it is asked for."""
    presence.beat(conn, holder.oid, facts, now, offline_at)
    works, bundle = presence.holds_lease(conn, holder.oid, now), agent_bundles.wanted(conn, holder.key)
    return agent_keys.due(conn, jkt, now), works, bundle
