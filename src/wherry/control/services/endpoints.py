"""Endpoints that name secrets: whoever names one, or says where it is used, must be allowed to read it.

Otherwise a right to define endpoints would be a right to have any secret sent anywhere.  Called by the routes of
endpoints, one transaction each.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from wherry.control.caller import Caller
from wherry.control.services import resource_store, resources, vault_secrets
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.resources import Answer, Conditions
from wherry.control.services.secret_uris import READ_SECRET, SecretUri
from wherry.control.services.types.registry import Target
from wherry.control.services.types.schema import invalid

VaultOf = Callable[[str], str | None]
"""The name of the vault of ours that a host is; None for a host elsewhere."""


def put(
    conn: Connection, caller: Caller, target: Target, body: Json, conditions: Conditions, vault_of: VaultOf
) -> Answer:
    """`resources.put`, and the right to the secrets that it names."""
    before = resource_store.find(conn, str(target.id), target.type.key)
    answer = resources.put(conn, caller, target, body, conditions)
    return _settle(conn, caller, target, before, answer, vault_of)


def patch(
    conn: Connection, caller: Caller, target: Target, body: Json, conditions: Conditions, vault_of: VaultOf
) -> Answer:
    """`resources.patch`, and the right to the secrets that it names."""
    before = resource_store.find(conn, str(target.id), target.type.key)
    answer = resources.patch(conn, caller, target, body, conditions)
    return _settle(conn, caller, target, before, answer, vault_of)


def _settle(
    conn: Connection, caller: Caller, target: Target, before: Resource | None, answer: Answer, vault_of: VaultOf
) -> Answer:  # fmt: skip
    found = resources.require(conn, target)
    if before is not None and _about_secrets(before) == _about_secrets(found):
        return answer
    named = {
        name: uri for name, uri in found.properties.get("credentials", {}).items() if name.endswith("Uri")
    }
    if not named and (before is None or "credentialsSetBy" not in before.state):
        return answer
    for name, uri in named.items():
        caller.authorize(conn, READ_SECRET, _scope(conn, target, name, uri, vault_of), data=True)
    # Asked again at each use: what one may not read any more is not read in one's name.
    author = caller.principal.oid if named else None
    changed = resource_store.set_state(conn, caller, found.key, credentialsSetBy=author) or found
    return Answer(resources.render(conn, target.type, changed, target.version), changed.etag, answer.created)


def _about_secrets(endpoint: Resource) -> tuple[Json, Json]:
    return endpoint.properties.get("credentials", {}), endpoint.properties.get("wherry", {})


def _scope(conn: Connection, target: Target, name: str, uri: str, vault_of: VaultOf) -> str:
    """Where the right to read the secret has to be given; of a vault elsewhere nothing is known here."""
    secret = SecretUri.parse(uri)
    vault = vault_of(secret.host)
    if vault is None:
        return f"/subscriptions/{target.id.subscription}"
    vault_id = vault_secrets.find_vault(conn, vault)
    if vault_id is None:
        raise invalid(f"properties.credentials.{name}", f"There is no vault '{vault}'.", "VaultNotFound")
    return f"{vault_id}/secrets/{secret.name}"
