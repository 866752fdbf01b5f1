"""From where agents of a private link scope may come.

Asked at every request of such an agent, and before anything is given to one that wants to be registered with a scope.
The address is the one that the socket knows: behind a proxy it is the proxy's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from sqlalchemy import Connection, select

from wherry.control.db.tables_agents import agent_trust
from wherry.control.db.tables_identity import principals
from wherry.control.services import resource_store
from wherry.control.services.resource_store import Resource
from wherry.model.errors import ApiError

SCOPE_KEY = "microsoft.hybridcompute/privatelinkscopes"
CONNECTION_KEY = f"{SCOPE_KEY}/privateendpointconnections"
GROUP_ID = "hybridcompute"
ENABLED, DISABLED, PERIMETER = "Enabled", "Disabled", "SecuredByPerimeter"

DENIED = "public_access_denied"
"""The word that an agent is refused with when it comes from elsewhere."""


def connections(conn: Connection, scope_key: str) -> list[Resource]:
    """The private endpoint connections of a scope."""
    return resource_store.children(conn, scope_key, CONNECTION_KEY)


def networks(connection: Resource) -> Sequence[str]:
    """The networks of a connection; none before it is approved."""
    state = connection.properties["privateLinkServiceConnectionState"]["status"]
    told: Sequence[str] = connection.properties.get("wherry", {}).get("networks", ())
    return told if state == "Approved" else ()


def admits(conn: Connection, scope_key: str, address: str) -> bool:
    """Whether an agent of a scope may come from an address; from nowhere when the scope is gone.

    A perimeter is somebody else's: until one is known here it admits what `Disabled` does.
    """
    scope = resource_store.find(conn, scope_key, SCOPE_KEY)
    if scope is None:
        return False
    if scope.properties.get("publicNetworkAccess", DISABLED) == ENABLED:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    named = (one for connection in connections(conn, scope.key) for one in networks(connection))
    return any(found in ipaddress.ip_network(one) for one in named)


def refused(address: str) -> str:
    """What to tell an agent that comes from elsewhere."""
    return (
        f"{DENIED}: the agent's private link scope allows no access from {address or 'this address'}; connect by a "
        "network of one of its approved private endpoint connections"
    )


def require(conn: Connection, scope_id: str, address: str) -> str:
    """The key of the scope that somebody who comes from `address` wants to be registered with; 404, 403."""
    scope = resource_store.find(conn, scope_id, SCOPE_KEY)
    if scope is None:
        raise ApiError(404, "PrivateLinkScopeNotFound", f"There is no private link scope '{scope_id}'.")
    if not admits(conn, scope.key, address):
        raise ApiError(403, "PublicNetworkAccessDenied", f"{refused(address).partition(': ')[2]}.")
    return scope.key


def user_of(conn: Connection, scope_key: str) -> str | None:
    """The name of a living agent that was registered with a scope."""
    return conn.execute(
        select(principals.c.name)
        .join(agent_trust, agent_trust.c.oid == principals.c.oid)
        .where(agent_trust.c.private_link_scope == scope_key, principals.c.deleted_at.is_(None))
        .limit(1)
    ).scalar()
