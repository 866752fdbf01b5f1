"""Scopes of role assignments: everything, a subscription, a group, a resource, a secret in a vault.

A scope must exist when something is assigned there, and is kept in the casing of the resource.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection

from wherry.control.services import resource_store, resources
from wherry.control.services.types import registry
from wherry.model import ids
from wherry.model.errors import ApiError

_SECRET = re.compile(
    r"(.*/providers/Microsoft\.KeyVault/vaults/[^/]+)/secrets/([0-9A-Za-z-]{1,127})", re.IGNORECASE
)


def canonical(conn: Connection, scope: str, subscription: str) -> str:
    """The scope as its resource writes it; 404 when there is nothing of that name."""
    told = scope.rstrip("/")
    if not told:
        return "/"
    words = ids.check(told).strip("/").split("/")
    if words[0].lower() != "subscriptions" or len(words) < 2:
        raise ApiError(400, "InvalidScope", f"'{scope}' is not a scope.")
    if words[1].lower() != subscription.lower():
        raise ApiError(404, "SubscriptionNotFound", f"The subscription '{words[1]}' could not be found.")
    if len(words) == 2:
        return f"/subscriptions/{subscription}"
    vault, secret = _secret_in(told)
    if secret:
        return f"{canonical(conn, vault, subscription)}/secrets/{secret}"
    target = registry.target(told)
    found = resource_store.find(conn, told, target.type.key)
    if found is None:
        raise resources.absent(target)
    return found.id


def _secret_in(scope: str) -> tuple[str, str]:
    """Vault and name when the scope is one secret in a vault, which need not be there yet."""
    found = _SECRET.fullmatch(scope)
    return (found[1], found[2]) if found else ("", "")
