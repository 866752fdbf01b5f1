"""A secret with all its versions as one sealed text, and back: what Azure's clients call backup and restore.

The text opens only here, with the master key that sealed it, and says which secret of which vault it was.  Into another
vault it is restored by whoever may read it where it came from: otherwise a right to back up would be one to read.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from typing import Any

from sqlalchemy import Connection, insert, select

from wherry.control.caller import Caller
from wherry.control.db.tables_vault import vault_secrets, vault_versions
from wherry.control.services import vault_secrets as secrets
from wherry.control.services.secret_uris import READ_SECRET
from wherry.control.services.vault_secrets import Json, Vault
from wherry.model.errors import ApiError
from wherry.trust.keys import KeyTrouble, MasterKey

LONGEST = 2 * 1024 * 1024
_CONTEXT = "vault backup"
_KEPT = (
    "content_type",
    "tags",
    "enabled",
    "not_before_at",
    "expires_at",
    "created_at",
    "created_by",
    "updated_at",
)


def backup(conn: Connection, vault: Vault, master: MasterKey, name: str) -> Json:
    """All versions of a living secret, sealed."""
    newest = secrets.living(conn, vault, name)
    rows = conn.execute(
        select(vault_versions)
        .where(vault_versions.c.vault_key == vault.key, vault_versions.c.name_key == name.lower())
        .order_by(vault_versions.c.seq)
    )
    versions = [
        {column: getattr(row, column) for column in _KEPT}
        | {"version": row.version, "value": secrets.value_of(master, vault, row)}
        for row in rows
    ]
    told = json.dumps({"vault": vault.id, "name": newest.name, "versions": versions}).encode()
    return {"value": base64.urlsafe_b64encode(master.seal(told, _CONTEXT)).decode().rstrip("=")}


def restore(conn: Connection, vault: Vault, master: MasterKey, caller: Caller, text: str) -> Json:
    """Put a secret back under its name; 409 when there is one, living or deleted."""
    told = _opened(master, text)
    name = str(told["name"])
    if told["vault"].lower() != vault.id.lower():
        caller.authorize(conn, READ_SECRET, f"{told['vault']}/secrets/{name}", data=True)
    if secrets.exists(conn, vault, name):
        raise ApiError(409, "Conflict", f"There is a secret {name}: delete and purge it to restore another.")
    conn.execute(insert(vault_secrets).values(vault_key=vault.key, name_key=name.lower(), name=name))
    taken = set(conn.execute(select(vault_versions.c.version)).scalars())
    for one in told["versions"]:
        version = one["version"] if one["version"] not in taken else uuid.uuid4().hex
        sealed = master.seal(str(one["value"]).encode(), secrets.context(vault.key, name, version))
        conn.execute(
            insert(vault_versions).values(
                vault_key=vault.key, name_key=name.lower(), version=version, sealed=sealed,
                **{column: one[column] for column in _KEPT},
            )
        )  # fmt: skip
    return secrets.bundle(vault, secrets.living(conn, vault, name))


def _opened(master: MasterKey, text: str) -> dict[str, Any]:
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        told: dict[str, Any] = json.loads(master.unseal(sealed, _CONTEXT))
    except (binascii.Error, ValueError, KeyTrouble) as broken:
        message = "This is no backup of a secret that was made here with the present master key."
        raise ApiError(400, "BadParameter", message) from broken
    return told
