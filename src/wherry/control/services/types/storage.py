"""Microsoft.Storage: registrations of real storage back ends, and of the containers in them.

An account's `properties.wherry` names the Blob endpoint and the account that requests are signed as; its key
goes to the vault (`services.accounts`) and is in no answer.
"""

from __future__ import annotations

import base64
import binascii

from sqlalchemy import Connection

from wherry.control.caller import Caller
from wherry.control.services import run_view, vault
from wherry.control.services.draft import Draft
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.types.addresses import service_url
from wherry.control.services.types.schema import Field, ResourceType, Rules, invalid
from wherry.model import ids
from wherry.model.errors import ApiError

PROVIDER = "Microsoft.Storage"
API_VERSIONS = ("2025-08-01", "2025-06-01", "2024-01-01", "2023-05-01", "2023-01-01", "2022-09-01")


def account_key(value: str, target: str) -> str:
    """The key of a storage account, in base64."""
    try:
        if len(base64.b64decode(value, validate=True)) >= 16:
            return value
    except (binascii.Error, ValueError):
        pass
    raise invalid(target, "An account key is expected: at least 16 bytes in base64.")


KEY = "accountKey"


def prepare_account(conn: Connection, draft: Draft) -> None:
    """A back end needs its key; another address or name needs the key again, so that none is used elsewhere."""
    told = draft.properties["wherry"]
    given = told.pop(KEY, None)
    name = draft.id.rpartition("/")[2]
    told.setdefault("accountName", name)
    old = draft.old.properties["wherry"] if draft.old is not None else None
    if given is None and old != told:
        message = "The key of the account is required when the endpoint is registered or changed."
        raise invalid(f"properties.wherry.{KEY}", message, "MissingProperty")
    if draft.old is not None and old != told:
        _refuse_in_use(conn, draft.old, draft.caller)
    draft.secret = given


def release_account(conn: Connection, account: Resource, caller: Caller, _root: Resource) -> None:
    """The key goes with the registration, but not while it is needed to take access back."""
    _refuse_in_use(conn, account, caller)
    vault.delete_secret(conn, account.key)


def release_container(conn: Connection, container: Resource, caller: Caller, _root: Resource) -> None:
    """A container that a run writes into stays registered until the run ends."""
    _refuse_in_use(conn, container, caller)


def _refuse_in_use(conn: Connection, found: Resource, caller: Caller) -> None:
    run = run_view.run_into(conn, found.key, caller.now)
    if run is not None:
        message = f"The job run '{run}' has access to it. Stop the run or wait for its end, then try again."
        raise ApiError(409, "StorageAccountInUse", message)


def view_account(_conn: Connection, account: Resource, properties: Json) -> None:
    """Where Azure's clients look for the address."""
    properties["primaryEndpoints"] = {"blob": account.properties["wherry"]["blobEndpoint"] + "/"}


_FEDERATION = (
    Field("tenantId", required=True, pattern=ids.GUID),
    Field("clientId", required=True, pattern=ids.GUID),
    Field("authority", required=True, longest=2048, check=service_url),
)
"""The application in Entra that runs are let in as, in place of stored access policies; unproven here."""

ACCOUNT = ResourceType(
    PROVIDER,
    ("storageAccounts",),
    (
        Field(
            "wherry",
            "object",
            required=True,
            fields=(
                Field("blobEndpoint", required=True, longest=2048, check=service_url),
                Field("accountName", pattern=ids.ACCOUNT_NAME),
                Field(KEY, longest=512, check=account_key),
                Field("federation", "object", fields=_FEDERATION),
            ),
        ),
    ),
    name=ids.ACCOUNT_NAME,
    tracked=True,
    rules=Rules(prepare=prepare_account, release=release_account, view=view_account),
)

CONTAINER = ResourceType(
    PROVIDER,
    ("storageAccounts", "blobServices=default", "containers"),
    name=ids.CONTAINER_NAME,
    verbs=frozenset({"put", "get", "delete", "list"}),
    rules=Rules(release=release_container),
)

TYPES = (ACCOUNT, CONTAINER)
