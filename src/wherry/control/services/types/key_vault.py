"""Microsoft.KeyVault: vaults, whose secrets are served in the way of Azure's (`control.vault`).

Rights on secrets are roles, never access policies; what is deleted can be recovered until it is purged.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, select

from wherry.control.caller import Caller
from wherry.control.db.tables_vault import vault_secrets
from wherry.control.services.draft import Draft
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.types.schema import Field, ResourceType, Rules, invalid
from wherry.model.errors import ApiError

PROVIDER = "Microsoft.KeyVault"
API_VERSIONS = ("2024-11-01", "2023-07-01", "2023-02-01", "2022-07-01")
RETENTION_DAYS = 90
_NAME = re.compile(r"^(?!.*--)[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]$")


def link_of(name: str) -> str:
    """What makes a vault's name unique in the deployment: it is part of a host's name."""
    return f"vault:{name.lower()}"


def _only_true(value: Any, target: str) -> Any:
    if value is not True:
        raise invalid(target, "Only true is served here.", "NotServedYet")
    return value


def prepare_vault(_conn: Connection, draft: Draft) -> None:
    """The name belongs to one vault; protection from purging is for good."""
    draft.link = link_of(draft.id.rpartition("/")[2])
    before = draft.old.properties if draft.old is not None else {}
    if before.get("enablePurgeProtection") and not draft.properties.get("enablePurgeProtection"):
        raise invalid("properties.enablePurgeProtection", "Protection from purging cannot be taken off.")


def release_vault(conn: Connection, vault: Resource, _caller: Caller, _root: Resource) -> None:
    """Secrets never go along with something else: a vault must be empty, of deleted ones too."""
    held = select(vault_secrets.c.name).where(vault_secrets.c.vault_key == vault.key).limit(1)
    if conn.execute(held).first() is not None:
        message = (
            f"The vault '{vault.name}' holds secrets, deleted ones counted: delete and purge them first."
        )
        raise ApiError(409, "VaultNotEmpty", message)


def view_vault(_conn: Connection, _vault: Resource, properties: Json) -> None:
    """What is always so here, in the words of Azure."""
    properties.setdefault("softDeleteRetentionInDays", RETENTION_DAYS)
    properties |= {"enableRbacAuthorization": True, "enableSoftDelete": True}


VAULT = ResourceType(
    PROVIDER,
    ("vaults",),
    (
        Field("tenantId"),
        Field("sku", "object"),
        Field("enableRbacAuthorization", "boolean", check=_only_true),
        Field("enableSoftDelete", "boolean", check=_only_true),
        Field("softDeleteRetentionInDays", "integer", smallest=7, largest=RETENTION_DAYS),
        Field("enablePurgeProtection", "boolean"),
    ),
    name=_NAME,
    tracked=True,
    rules=Rules(prepare=prepare_vault, release=release_vault, view=view_vault),
)

TYPES = (VAULT,)
