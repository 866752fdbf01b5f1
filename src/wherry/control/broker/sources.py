"""Where drivers get the secrets from that they work with: keys of accounts, and secrets that an endpoint names by URI.

Nothing is kept: each use reads the secret again.  A URI is one of a vault of this deployment, read while whoever
named it may still read it, or one of a vault elsewhere (`external_vault`).  Called by drivers, in worker threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection

from wherry.control import audit, authorization
from wherry.control.audit import Record
from wherry.control.broker.external_vault import ExternalVaults
from wherry.control.db.engine import Database
from wherry.control.services import accounts, vault_secrets
from wherry.control.services.accounts import Account
from wherry.control.services.secret_uris import READ_SECRET, SecretUri
from wherry.model.errors import ApiError, RunError
from wherry.trust.keys import MasterKey


class Secrets(Protocol):
    """What drivers ask for secrets."""

    def account(self, account_key: str) -> Account:
        """A registered storage account with its key; 404 when it is not registered any more."""

    def named(self, uri: str, author: str) -> str:
        """The value of a secret that `author` named by its URI."""


@dataclass(frozen=True, slots=True)
class DeploymentSecrets:
    """Those of a running control plane; `vault_of` tells the vault of ours that a host is, if it is one."""

    database: Database
    master: MasterKey
    clock: Callable[[], float]
    vault_of: Callable[[str], str | None] = lambda _host: None
    external: ExternalVaults = field(default_factory=ExternalVaults)

    def account(self, account_key: str) -> Account:
        with self.database.snapshot() as conn:
            return accounts.load(conn, self.master, account_key)

    def named(self, uri: str, author: str) -> str:
        told = SecretUri.parse(uri)
        ours = self.vault_of(told.host)
        if ours is not None:
            with self.database.transaction() as conn:
                return self._read(conn, ours, told, author)
        with self.database.transaction() as conn:
            self._note(conn, told.text, author)
        return self.external.read(told)

    def _read(self, conn: Connection, name: str, told: SecretUri, author: str) -> str:
        vault_id = vault_secrets.find_vault(conn, name)
        if vault_id is None:
            raise RunError("AZSM1024", f"There is no vault '{name}' any more.")
        place = vault_secrets.load(conn, vault_id, f"https://{told.host}")
        scope = place.scope(told.name)
        decision = authorization.decide_for(conn, author, READ_SECRET, scope, self.clock(), data=True)
        if not decision.allowed:
            raise RunError(
                "AZSM1024", f"Who named the secret '{told.name}' for the endpoint may not read it any more."
            )
        try:
            value = vault_secrets.get(conn, self.master, place, told.name, told.version)["value"]
        except ApiError as missing:
            raise RunError(
                "AZSM1024", f"The secret '{told.name}' cannot be read: {missing.message}"
            ) from missing
        self._note(conn, scope, author)
        return str(value)

    def _note(self, conn: Connection, scope: str, author: str) -> None:
        record = Record("wherry/secret-used", "allowed", scope=scope, actor=author)
        audit.append(conn, record, self.clock())
