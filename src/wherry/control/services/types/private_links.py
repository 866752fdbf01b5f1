"""Private link scopes and their private endpoint connections: by which networks agents of a scope may come.

In Azure a private endpoint is an address in somebody's network; here a connection names the networks that reach this
service by a private address (`properties.wherry.networks`), and an agent that was registered with the scope is heard
from those alone unless the scope allows public access.
"""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

from sqlalchemy import Connection

from wherry.control.caller import Caller
from wherry.control.services import private_links, resource_store
from wherry.control.services.draft import Draft
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.types.schema import Field, ResourceType, Rules, invalid
from wherry.model.errors import ApiError

PROVIDER = "Microsoft.HybridCompute"
_NETWORKS = 32


def network(value: str, target: str) -> str:
    """A network that is not reached from the Internet, in its canonical form."""
    try:
        found = ipaddress.ip_network(value)
    except ValueError as broken:
        raise invalid(target, "A network is expected, such as 10.20.0.0/16.") from broken
    if not found.is_private:
        raise invalid(target, "The network is not private: nothing there can be a private endpoint.")
    return str(found)


def prepare_scope(_conn: Connection, draft: Draft) -> None:
    """A scope has a number of its own."""
    draft.state.setdefault("privateLinkScopeId", str(uuid.uuid4()))


def view_scope(conn: Connection, scope: Resource, properties: Json) -> None:
    """A scope shows its connections; public access is off unless it was allowed."""
    properties.setdefault("publicNetworkAccess", private_links.DISABLED)
    properties["privateEndpointConnections"] = [
        {"id": one.id, "name": one.name, "type": CONNECTION.full, "properties": one.properties}
        for one in private_links.connections(conn, scope.key)
    ]


def release_scope(conn: Connection, scope: Resource, _caller: Caller, _root: Resource) -> None:
    """A scope that agents were registered with stays: without it they could not be heard any more."""
    name = private_links.user_of(conn, scope.key)
    if name is not None:
        raise ApiError(
            409,
            "PrivateLinkScopeInUse",
            f"The agent '{name}' was registered with this scope. Unregister it first.",
        )


def view_connection(_conn: Connection, _connection: Resource, properties: Json) -> None:
    """A connection serves the one group there is."""
    properties["groupIds"] = [private_links.GROUP_ID]


SCOPE = ResourceType(
    PROVIDER,
    ("privateLinkScopes",),
    (
        Field(
            "publicNetworkAccess",
            choices=(private_links.ENABLED, private_links.DISABLED, private_links.PERIMETER),
        ),
    ),
    tracked=True,
    slow_delete=True,
    rules=Rules(prepare=prepare_scope, view=view_scope, release=release_scope),
)

CONNECTION = ResourceType(
    PROVIDER,
    ("privateLinkScopes", "privateEndpointConnections"),
    (
        Field("privateEndpoint", "object", fields=(Field("id"),)),
        Field(
            "privateLinkServiceConnectionState",
            "object",
            required=True,
            fields=(
                Field("status", required=True, choices=("Approved", "Pending", "Rejected", "Disconnected")),
                Field("description"),
                Field("actionsRequired"),
            ),
        ),
        Field(
            "wherry",
            "object",
            fields=(Field("networks", "list", longest=_NETWORKS, item=Field("network", check=network)),),
        ),
    ),
    slow_delete=True,
    verbs=frozenset({"put", "get", "delete", "list"}),
    rules=Rules(view=view_connection),
)

TYPES = (SCOPE, CONNECTION)


def resources_of(scope: Resource) -> list[dict[str, Any]]:
    """What a private endpoint can be made for: the one group, with all that an agent needs."""
    kind = f"{SCOPE.full}/privateLinkResources"
    properties = {
        "groupId": private_links.GROUP_ID,
        "requiredMembers": ["identity", "control", "data", "logs"],
        "requiredZoneNames": [],
    }
    return [
        {
            "id": f"{scope.id}/privateLinkResources/{private_links.GROUP_ID}",
            "name": private_links.GROUP_ID,
            "type": kind,
            "properties": properties,
        }
    ]


def validation_of(conn: Connection, scope: Resource) -> dict[str, Any]:
    """What an agent of a scope is told of it."""
    access = scope.properties.get("publicNetworkAccess", private_links.DISABLED)
    details = [
        {"id": one.id, "linkIdentifier": network, "groupId": private_links.GROUP_ID, "memberName": "control"}
        for one in private_links.connections(conn, scope.key)
        for network in private_links.networks(one)
    ]
    return {"id": scope.id, "publicNetworkAccess": access, "connectionDetails": details}


def of_machine(conn: Connection, machine: Resource) -> Resource:
    """The scope that a machine's agent was registered with; 404 when it was with none."""
    key = machine.properties.get("privateLinkScopeResourceId", "")
    scope = resource_store.find(conn, key, private_links.SCOPE_KEY) if key else None
    if scope is None:
        raise ApiError(
            404, "PrivateLinkScopeNotFound", "The machine was registered with no private link scope."
        )
    return scope
