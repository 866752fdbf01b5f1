"""Storage accounts: registrations of real back ends, whose keys lie in the vault.

`load` is how the service itself gets at a back end: container routes, grants and the credential broker call it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from wherry.control.caller import Caller
from wherry.control.services import resource_store, resources, vault
from wherry.control.services.resource_store import Json
from wherry.control.services.resources import Answer, Conditions
from wherry.control.services.types.registry import Target
from wherry.control.services.types.storage import ACCOUNT
from wherry.model.errors import ApiError
from wherry.trust.keys import MasterKey


@dataclass(frozen=True, slots=True)
class Account:
    """A back end: the URL of its Blob service without a trailing slash, the account's name and key there."""

    id: str
    endpoint: str
    name: str
    key: str = field(repr=False)

    def container_url(self, container: str) -> str:
        """The URL of a container in it."""
        return f"{self.endpoint}/{container}"


def put(
    conn: Connection, caller: Caller, target: Target, body: Json, conditions: Conditions, master: MasterKey
) -> Answer:
    """`resources.put`, and the key that it carries into the vault."""
    return _keep(conn, caller, resources.put(conn, caller, target, body, conditions), master)


def patch(
    conn: Connection, caller: Caller, target: Target, body: Json, conditions: Conditions, master: MasterKey
) -> Answer:
    """`resources.patch`, and the key that it carries into the vault."""
    return _keep(conn, caller, resources.patch(conn, caller, target, body, conditions), master)


def load(conn: Connection, master: MasterKey, account_id: str) -> Account:
    """The back end of a registered account; 404 `StorageAccountNotFound` when it is not registered."""
    found = resource_store.find(conn, account_id, ACCOUNT.key)
    if found is None:
        raise ApiError(
            404,
            "StorageAccountNotFound",
            f"The storage account '{account_id}' is not registered here: register it.",
        )
    told = found.properties["wherry"]
    return Account(
        found.id, told["blobEndpoint"], told["accountName"], vault.get_secret(conn, master, found.key)
    )


def _keep(conn: Connection, caller: Caller, answer: Answer, master: MasterKey) -> Answer:
    if answer.secret is not None:
        vault.put_secret(conn, master, answer.body["id"], answer.secret, caller.principal.oid, caller.now)
    return answer
