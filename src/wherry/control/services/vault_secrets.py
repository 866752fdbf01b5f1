"""Secrets in vaults: versions, soft delete, recovery and purge, as Azure's clients know them.

Every value is sealed with the master key and bound to the row that holds it.  Whether the caller may was decided before
these functions are called; only `get` unseals, and each use of it is audited by whoever calls.  Called by
`control.vault.api`, one transaction each.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from wherry.control.db.tables_vault import vault_secrets, vault_versions
from wherry.control.services import resource_store, role_assignments
from wherry.control.services.types.key_vault import RETENTION_DAYS, VAULT, link_of
from wherry.model.errors import ApiError
from wherry.trust.keys import MasterKey

Json = dict[str, Any]

NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
LONGEST_VALUE = 25 * 1024
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Vault:
    """A vault as its data plane needs it; `uri` has no trailing slash."""

    id: str
    key: str
    uri: str
    days: int
    protected: bool

    @property
    def recovery_level(self) -> str:
        kind = "Recoverable" if self.days == RETENTION_DAYS else "CustomizedRecoverable"
        return kind if self.protected else f"{kind}+Purgeable"

    def scope(self, name: str) -> str:
        """The scope at which roles for one secret are assigned."""
        return f"{self.id}/secrets/{name}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client sets of a version; None leaves what is there."""

    content_type: str | None = None
    tags: Mapping[str, str] | None = None
    enabled: bool | None = None
    not_before_at: float | None = None
    expires_at: float | None = None
    value: str = field(default="", repr=False)

    def columns(self) -> Json:
        """The columns that are to change."""
        told = {
            "content_type": self.content_type,
            "tags": None if self.tags is None else dict(self.tags),
            "enabled": self.enabled,
            "not_before_at": self.not_before_at,
            "expires_at": self.expires_at,
        }
        return {name: value for name, value in told.items() if value is not None}


def find_vault(conn: Connection, name: str) -> str | None:
    """The id of the vault of this name."""
    found = resource_store.linked(conn, VAULT.key, link_of(name))
    return None if found is None else found.id


def load(conn: Connection, vault_id: str, uri: str) -> Vault:
    """The vault with this id; 404 when it is gone."""
    found = resource_store.find(conn, vault_id, VAULT.key)
    if found is None:
        raise ApiError(404, "VaultNotFound", "There is no vault of this name.")
    days = int(found.properties.get("softDeleteRetentionInDays", RETENTION_DAYS))
    return Vault(found.id, found.key, uri, days, bool(found.properties.get("enablePurgeProtection")))


def put(
    conn: Connection, master: MasterKey, vault: Vault, name: str, wanted: Wanted, by: str, now: float
) -> Json:
    """A new version of a secret, which is made when it is not there; 409 while it lies deleted."""
    row = _secret(conn, vault, name)
    if row is None:
        conn.execute(insert(vault_secrets).values(vault_key=vault.key, name_key=name.lower(), name=name))
    elif row.deleted_at is not None:
        raise _lies_deleted(name)
    version = uuid.uuid4().hex
    columns = {"tags": {}, "enabled": True} | wanted.columns()
    conn.execute(
        insert(vault_versions).values(
            vault_key=vault.key, name_key=name.lower(), version=version,
            sealed=master.seal(wanted.value.encode(), context(vault.key, name, version)),
            created_at=now, created_by=by, updated_at=now, **columns,
        )
    )  # fmt: skip
    return bundle(vault, _version(conn, vault, name, version), value=wanted.value)


def get(conn: Connection, master: MasterKey, vault: Vault, name: str, version: str) -> Json:
    """A version with its value, the latest without one named; 403 when it is disabled.

    Times are not looked at, as in Azure: who recovers an expired secret has to be able to read it.
    """
    row = _living(conn, vault, name, version)
    if not row.enabled:
        raise ApiError(
            403, "Forbidden", "Operation get is not allowed on a disabled secret. Enable it first."
        )
    return bundle(vault, row, value=value_of(master, vault, row))


def change(conn: Connection, vault: Vault, name: str, version: str, wanted: Wanted, now: float) -> Json:
    """Change what is said of a version; its value stays."""
    row = _living(conn, vault, name, version)
    told = wanted.columns() | {"updated_at": now}
    conn.execute(update(vault_versions).where(vault_versions.c.seq == row.seq).values(told))
    return bundle(vault, _version(conn, vault, name, row.version))


def listed(
    conn: Connection, vault: Vault, after: str, limit: int, *, deleted: bool
) -> tuple[list[Json], Any]:
    """A page of secrets without values, living or deleted ones; and the name to go on behind, None at the end."""
    newest = select(func.max(vault_versions.c.seq)).group_by(
        vault_versions.c.vault_key, vault_versions.c.name_key
    )
    gone = vault_secrets.c.deleted_at
    rows = conn.execute(
        _versions(vault)
        .where(vault_versions.c.seq.in_(newest), vault_versions.c.name_key > after)
        .where(gone.is_not(None) if deleted else gone.is_(None))
        .order_by(vault_versions.c.name_key)
        .limit(limit + 1)
    ).all()
    shown = [bundle(vault, row, whole=False) | _grave(vault, row) for row in rows[:limit]]
    return shown, rows[limit - 1].name_key if len(rows) > limit else None


def versions(conn: Connection, vault: Vault, name: str, after: int, limit: int) -> tuple[list[Json], Any]:
    """A page of the versions of a secret without values, in order of their making."""
    _living(conn, vault, name, "")
    rows = conn.execute(
        _versions(vault)
        .where(vault_versions.c.name_key == name.lower(), vault_versions.c.seq > after)
        .order_by(vault_versions.c.seq)
        .limit(limit + 1)
    ).all()
    return [bundle(vault, row) for row in rows[:limit]], rows[limit - 1].seq if len(rows) > limit else None


def remove(conn: Connection, vault: Vault, name: str, now: float) -> Json:
    """Delete a secret with all versions; it can be recovered until it is purged."""
    _living(conn, vault, name, "")
    conn.execute(
        update(vault_secrets)
        .where(vault_secrets.c.vault_key == vault.key, vault_secrets.c.name_key == name.lower())
        .values(deleted_at=now, purge_at=now + vault.days * _DAY)
    )
    return deleted(conn, vault, name)


def deleted(conn: Connection, vault: Vault, name: str) -> Json:
    """A deleted secret, without its value."""
    row = _deleted(conn, vault, name)
    return bundle(vault, row) | _grave(vault, row)


def recover(conn: Connection, vault: Vault, name: str) -> Json:
    """Take a deleted secret back."""
    row = _deleted(conn, vault, name)
    conn.execute(
        update(vault_secrets)
        .where(vault_secrets.c.vault_key == vault.key, vault_secrets.c.name_key == name.lower())
        .values(deleted_at=None, purge_at=None)
    )
    return bundle(vault, row)


def purge(conn: Connection, vault: Vault, name: str) -> None:
    """Forget a deleted secret for good, and the roles that were assigned for it."""
    _deleted(conn, vault, name)
    if vault.protected:
        raise ApiError(403, "Forbidden", "Operation purge is not allowed: the vault protects from purging.")
    _forget(conn, vault.key, name.lower())
    role_assignments.remove_below(conn, vault.scope(name))


def purge_due(conn: Connection, now: float) -> None:
    """Forget what was deleted and has not been recovered in its time.  Called every minute."""
    due = conn.execute(select(vault_secrets).where(vault_secrets.c.purge_at <= now)).all()
    for row in due:
        _forget(conn, row.vault_key, row.name_key)
        role_assignments.remove_below(conn, f"{row.vault_key}/secrets/{row.name_key}")


def living(conn: Connection, vault: Vault, name: str) -> Row[Any]:
    """The latest version of a secret that is not deleted; 404 for any other."""
    return _living(conn, vault, name, "")


def exists(conn: Connection, vault: Vault, name: str) -> bool:
    """Whether the name is taken, if only by a deleted secret."""
    return _secret(conn, vault, name) is not None


def bundle(vault: Vault, row: Row[Any], value: str | None = None, *, whole: bool = True) -> Json:
    """A version as it is answered; `whole` names the version in its id."""
    attributes = {
        "enabled": row.enabled,
        "nbf": row.not_before_at,
        "exp": row.expires_at,
        "created": row.created_at,
        "updated": row.updated_at,
    }
    told = {name: at if name == "enabled" else int(at) for name, at in attributes.items() if at is not None}
    body: Json = {
        "id": f"{vault.uri}/secrets/{row.name}" + (f"/{row.version}" if whole else ""),
        "attributes": told | {"recoveryLevel": vault.recovery_level, "recoverableDays": vault.days},
        "tags": row.tags,
    }
    if row.content_type is not None:
        body["contentType"] = row.content_type
    return body | ({} if value is None else {"value": value})


def _grave(vault: Vault, row: Row[Any]) -> Json:
    if row.deleted_at is None:
        return {}
    return {
        "recoveryId": f"{vault.uri}/deletedsecrets/{row.name}",
        "deletedDate": int(row.deleted_at),
        "scheduledPurgeDate": int(row.purge_at),
    }


def _secret(conn: Connection, vault: Vault, name: str) -> Row[Any] | None:
    query = select(vault_secrets).where(vault_secrets.c.vault_key == vault.key)
    return conn.execute(query.where(vault_secrets.c.name_key == name.lower())).first()


def _versions(vault: Vault) -> Any:
    """Versions joined with their secrets."""
    columns = (vault_secrets.c.name, vault_secrets.c.deleted_at, vault_secrets.c.purge_at)
    return (
        select(vault_versions, *columns)
        .join(
            vault_secrets,
            (vault_secrets.c.vault_key == vault_versions.c.vault_key)
            & (vault_secrets.c.name_key == vault_versions.c.name_key),
        )
        .where(vault_versions.c.vault_key == vault.key)
    )


def _version(conn: Connection, vault: Vault, name: str, version: str) -> Row[Any]:
    """A version, the latest without one named; 404 when there is none."""
    query = _versions(vault).where(vault_versions.c.name_key == name.lower())
    if version:
        query = query.where(vault_versions.c.version == version.lower())
    row: Row[Any] | None = conn.execute(query.order_by(vault_versions.c.seq.desc()).limit(1)).first()
    if row is None:
        message = (
            f"A secret with (name/id) {name}{f'/{version}' if version else ''} was not found in this vault."
        )
        raise ApiError(404, "SecretNotFound", message)
    return row


def _living(conn: Connection, vault: Vault, name: str, version: str) -> Row[Any]:
    row = _version(conn, vault, name, version)
    if row.deleted_at is not None:
        message = f"Secret {name} is currently in a deleted state. Recover it to use it."
        raise ApiError(404, "SecretNotFound", message)
    return row


def _deleted(conn: Connection, vault: Vault, name: str) -> Row[Any]:
    row = _version(conn, vault, name, "")
    if row.deleted_at is None:
        raise ApiError(404, "SecretNotFound", f"Deleted Secret not found: {name}")
    return row


def _lies_deleted(name: str) -> ApiError:
    return ApiError(
        409,
        "Conflict",
        f"Secret {name} is currently in a deleted but recoverable state. Recover or purge it.",
    )


def _forget(conn: Connection, vault_key: str, name_key: str) -> None:
    for table in (vault_versions, vault_secrets):
        conn.execute(delete(table).where(table.c.vault_key == vault_key, table.c.name_key == name_key))


def value_of(master: MasterKey, vault: Vault, row: Row[Any]) -> str:
    """The value of a version, unsealed."""
    return master.unseal(row.sealed, context(vault.key, row.name_key, row.version)).decode()


def context(vault_key: str, name: str, version: str) -> str:
    """What the value of a version is bound to at rest."""
    return f"vault_versions/{vault_key}/{name.lower()}/{version}"
