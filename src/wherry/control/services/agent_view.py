"""An agent as the resource API shows it: whether it is there, and how its identity stands.

Rule `view` of the type; what is worked out here is nowhere written.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, select

from wherry.control.db.tables_agents import agent_trust
from wherry.control.db.tables_identity import agent_keys
from wherry.control.services import agent_trust as trust
from wherry.control.services import agents, presence, resource_store
from wherry.control.services.resource_store import Json, Resource
from wherry.model.agent_versions import REQUIRED
from wherry.model.errors import CODES
from wherry.model.outcomes import iso_time

_WORDS = {"": "Active", "locked": "Locked", "expired": "Expired", "gone": "Gone"}
_CODES = {"locked": "AZSM0011", "expired": "AZSM0012"}


def view(conn: Connection, agent: Resource, properties: Json) -> None:
    """Add to the properties of an agent; a placeholder has no identity to tell of."""
    presence.view_agent(conn, agent, properties)
    upgrade = properties.pop("upgrade", None)
    oid = conn.execute(presence.identity_of(agent.key)).scalar()
    if oid is None or agents.is_placeholder(agent):
        return
    lapsed = trust.lapsed(conn, oid, time.time())
    told: Json = properties.get("wherry", {}) | {"identity": _WORDS[lapsed]}
    machine = resource_store.find(conn, agent.link_key) if agent.link_key else None
    if machine is not None and machine.tags:
        told["tags"] = machine.tags
    row = conn.execute(select(agent_trust).where(agent_trust.c.oid == oid)).first()
    if row is not None and row.locked_at is not None:
        told |= {"lockedAt": iso_time(row.locked_at), "lockReason": row.lock_reason}
    if row is not None and row.private_link_scope is not None:
        scope = resource_store.find(conn, row.private_link_scope)
        told["privateLinkScopeResourceId"] = scope.id if scope else row.private_link_scope
    key = conn.execute(
        select(agent_keys).where(agent_keys.c.oid == oid).order_by(agent_keys.c.generation.desc()).limit(1)
    ).first()
    if key is not None and lapsed != "gone":
        told |= {"key": key.jkt, "keyExpiresAt": iso_time(key.expires_at)}
    if upgrade is not None:
        told["upgrade"] = upgrade
    properties["wherry"] = properties.get("wherry", {}) | told
    if upgrade is not None and upgrade["code"] == REQUIRED:
        properties["agentStatus"] = "RequiresAttention"
        properties["errorDetails"] = {"code": REQUIRED, "message": upgrade["message"]}
    code = _CODES.get(lapsed)
    if code is not None:
        properties["agentStatus"] = "RequiresAttention"
        properties["errorDetails"] = {"code": code, "message": CODES[code].message}
