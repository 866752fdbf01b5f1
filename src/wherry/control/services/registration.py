"""Registration: from an approved enrolment to an agent with a machine, an identity and a key, in one transaction.

Either all of them exist afterwards or none.  The same token and key get the same answer again, so that a lost one can
be asked for again.  A placeholder that a user made is filled; an agent that is registered is never taken over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from wherry.control.caller import Caller
from wherry.control.services import (
    agent_trust,
    agents,
    enrolments,
    identities,
    presence,
    private_links,
    resource_store,
    resources,
)
from wherry.control.services.identities import AgentIdentity
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.types import registry
from wherry.model import ids
from wherry.model.errors import ApiError
from wherry.trust.enrolment import EnrolmentRequest
from wherry.trust.keys import KeyTrouble, PublicKey

MACHINE = "microsoft.hybridcompute/machines"
MOVER = "microsoft.storagemover/storagemovers"
_ZERO = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration has made."""

    agent_id: str
    machine_id: str
    identity: AgentIdentity


def register(  # noqa: PLR0913 - all that a registration says
    conn: Connection, caller: Caller, request: EnrolmentRequest, key: Mapping[str, Any], facts: Json, vm: str,
    offline_at: float, *, tags: Mapping[str, str] | None = None, address: str = "", owners: bool = False,
) -> Registered:  # fmt: skip
    """Register the agent that `caller`, the approver with the enrolment's token, has vouched for.

    404 for an unknown mover, 409 for a name that is taken, 403 when the registration is not the approved one, or when
    the approver may not do this any more; with `owners` nobody but an Owner may.  `tags` are the machine's; without any
    it keeps those of the machine that it takes the place of.
    """
    again = enrolments.claim(conn, caller.principal, request, caller.now, owners=owners)
    if again is not None:
        return _made_before(conn, again)
    _check_key(key, caller)
    mover = resource_store.find(conn, request.mover, MOVER)
    if mover is None:
        raise ApiError(404, "ResourceNotFound", f"The storage mover '{request.mover}' was not found.")
    machine_id = f"{request.group}/providers/Microsoft.HybridCompute/machines/{request.agent_name}"
    tagged = tags or _tags_before(conn, f"{mover.id}/agents/{request.agent_name}")
    agent_id = f"{mover.id}/agents/{request.agent_name}"
    cut_short = _cut_short(conn, caller, agent_id, request.private_link_scope)
    if cut_short is not None:
        return cut_short
    agent = _free_agent(conn, agent_id, caller.now)
    scope = (
        private_links.require(conn, request.private_link_scope, address)
        if request.private_link_scope
        else None
    )
    _make_machine(conn, caller, request, machine_id, mover, vm, facts, tagged)
    identity = identities.create_agent(
        conn, name=request.agent_name, machine_id=machine_id, jwk=key, now=caller.now, scope_key=scope
    )
    told = {"type": "SystemAssigned", "principalId": identity.oid, "tenantId": caller.principal.tenant}
    resource_store.rewrite(conn, caller, ids.key(machine_id), identity=told)
    agent_id = _make_agent(conn, caller, agent, agent_id, mover, machine_id, vm)
    presence.begin(conn, identity.oid, ids.key(agent_id), facts, caller.now, offline_at)
    enrolments.complete(conn, caller.principal, identity.oid)
    return Registered(agent_id, machine_id, identity)


def unregister(conn: Connection, caller: Caller) -> None:
    """An agent gives itself up: resource, machine and identity go, with all that it held."""
    key = presence.key_of(conn, caller.principal.oid)
    presence.end(conn, caller.principal.oid)
    agent = resource_store.find(conn, key or "", agents.TYPE)
    if agent is not None:
        resources.delete(conn, caller, registry.target(agent.id))
    identities.delete_agent(conn, caller.principal.oid, caller.now)


def _made_before(conn: Connection, oid: str) -> Registered:
    identity = identities.find_agent(conn, oid)
    agent = resource_store.find(conn, presence.key_of(conn, oid) or "", agents.TYPE)
    if identity is None or agent is None:
        raise ApiError(409, "AgentGone", "The agent was deleted since. Register again.")
    return Registered(agent.id, agent.properties["arcResourceId"], identity)


def _cut_short(conn: Connection, caller: Caller, agent_id: str, scope: str) -> Registered | None:
    """What an earlier registration made for the same key, whose answer never came to be kept; None for none.

    Nobody has ever signed in with it, so that there is nothing to take over but the own half of it.
    """
    agent = resource_store.find(conn, agent_id, agents.TYPE)
    oid = conn.execute(presence.identity_of(agent.key)).scalar() if agent is not None else None
    identity = identities.find_agent(conn, oid) if oid is not None else None
    if agent is None or identity is None or identity.jkt != caller.principal.jkt:
        return None
    if not agent_trust.is_unused(conn, identity.oid, ids.key(scope) if scope else None):
        return None
    enrolments.complete(conn, caller.principal, identity.oid)
    return Registered(agent.id, agent.properties["arcResourceId"], identity)


def _check_key(key: Mapping[str, Any], caller: Caller) -> None:
    try:
        thumbprint = PublicKey.from_jwk(key).thumbprint
    except KeyTrouble as broken:
        raise ApiError(400, "InvalidKey", str(broken)) from broken
    if thumbprint != caller.principal.jkt:
        raise ApiError(403, "EnrolmentMismatch", "The key is not the one that was approved. Register again.")


def _free_agent(conn: Connection, agent_id: str, now: float) -> Resource | None:
    """The agent to fill, None when there is none; 409 for one whose registration is in force.

    That is a placeholder, or an agent whose identity is locked, has expired or is gone: the rest of it ends here.
    """
    found = resource_store.find(conn, agent_id, agents.TYPE)
    if found is not None and not agents.is_placeholder(found):
        oid = conn.execute(presence.identity_of(found.key)).scalar()
        if oid is not None and agent_trust.lapsed(conn, oid, now):
            agents.end_registration(conn, found, now)
            return found
        raise ApiError(
            409,
            "AgentExists",
            f"An agent named '{found.name}' is registered with this mover already. "
            "Choose another name, or delete that agent first.",
        )
    return found


def _tags_before(conn: Connection, agent_id: str) -> Mapping[str, str]:
    """The tags of the machine that an agent of this name had until now."""
    agent = resource_store.find(conn, agent_id, agents.TYPE)
    machine = resource_store.find(conn, agent.link_key) if agent is not None and agent.link_key else None
    return {} if machine is None else machine.tags


def _make_machine(
    conn: Connection, caller: Caller, request: EnrolmentRequest, machine_id: str, mover: Resource, vm: str,
    facts: Json, tags: Mapping[str, str],
) -> None:  # fmt: skip
    other = resource_store.linked(conn, agents.TYPE, machine_id)
    taken = resource_store.find(conn, machine_id) is not None
    if taken or (other is not None and other.name.lower() != request.agent_name.lower()):
        raise ApiError(
            409,
            "MachineExists",
            f"There is a machine '{request.agent_name}' in the resource group already, or an agent that claims it. "
            "Choose another agent name, or delete the machine first.",
        )
    group = resource_store.find(conn, request.group)
    resource_store.insert(
        conn,
        caller,
        machine_id,
        MACHINE,
        group.key if group else None,
        properties={
            "vmId": vm,
            "osName": "Linux",
            "machineFqdn": request.host_name,
            "agentVersion": facts.get("agentVersion", ""),
            **(
                {"privateLinkScopeResourceId": request.private_link_scope}
                if request.private_link_scope
                else {}
            ),
        },
        state={"status": "Connected"},
        location=mover.location,
        tags=tags,
    )


def _make_agent(
    conn: Connection, caller: Caller, placeholder: Resource | None, agent_id: str, mover: Resource,
    machine_id: str, vm: str,
) -> str:  # fmt: skip
    told: Json = {"arcResourceId": machine_id, "arcVmUuid": vm or _ZERO}
    if placeholder is None:
        made = resource_store.insert(
            conn, caller, agent_id, agents.TYPE, mover.key, properties=told, state={"agentStatus": "Online"},
            link=machine_id,
        )  # fmt: skip
        return made.id
    resource_store.rewrite(
        conn, caller, placeholder.key, properties=placeholder.properties | told, state={"agentStatus": "Online"},
        link_key=ids.key(machine_id),
    )  # fmt: skip
    return placeholder.id
