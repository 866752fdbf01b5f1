"""Tokens of an agent's identity for programs on its machine: bearer tokens, short, for data planes only.

The agent hands them out by its identity endpoint.  They open what roles of the identity open, never the resource API.
"""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import audit
from wherry.control.access import Routes, agent
from wherry.control.agents.messages import body_of, text
from wherry.control.plane import caller, plane, request_id, source
from wherry.model.errors import ApiError
from wherry.trust import tokens
from wherry.trust.principals import AGENT_SCOPE, Principal

routes = Routes("/agent/v1")

STORAGE = "https://storage.azure.com"


@routes.post("/token", agent(routine=True))
async def token(request: Request) -> Response:
    """A token for `resource`; each is a record in the audit trail."""
    service, who = plane(request), caller(request)
    resource = text(await body_of(request), "resource", 512)
    if not tokens.same_audience(resource, service.vault_audiences | {STORAGE}):
        raise ApiError(400, "invalid_resource", "Identities of machines get tokens for data planes only.")
    now = int(service.clock())
    principal = Principal(
        kind="agent", oid=who.oid, tenant=service.tenant, name=who.name, scopes=frozenset({AGENT_SCOPE}),
        audience=resource.removesuffix("/"), client_id=who.client_id, token_id=tokens.new_id(),
        resource_id=who.resource_id, epoch=who.epoch, issued_at=now, expires_at=now + tokens.AGENT_LIFETIME,
    )  # fmt: skip
    record = audit.of(
        who, "wherry/identity-token", "allowed", scope=who.resource_id, source=source(request),
        request_id=request_id(request), details={"audience": principal.audience, "token": principal.token_id},
    )  # fmt: skip

    def note(conn: Connection) -> None:
        audit.append(conn, record, now)

    await service.database.write(note)
    return JSONResponse(
        {
            "access_token": tokens.issue_access(principal, await service.ring(), service.issuer),
            "client_id": who.client_id,
            "expires_in": str(tokens.AGENT_LIFETIME),
            "expires_on": str(principal.expires_at),
            "ext_expires_in": str(tokens.AGENT_LIFETIME),
            "not_before": str(now),
            "resource": resource,
            "token_type": "Bearer",
        }
    )
