"""Where the master key comes from: a file, a systemd credential, or what a command prints; and how it is changed.

    file:PATH   credential:NAME ($CREDENTIALS_DIRECTORY/NAME)   command:PROGRAM ARGUMENTS

Without a source it is `master.key` in the state directory, made at the first start.  Every sealed value names the key
that sealed it, so a wrong key is told from damage.  Called by `deployment` and `wherry vault rotate-master-key`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, select, update

from wherry.control.db.engine import Database
from wherry.control.db.tables_identity import secrets, signing_keys
from wherry.control.db.tables_vault import vault_versions
from wherry.control.services import credentials, factors, signing, vault, vault_secrets
from wherry.model.errors import UsageError
from wherry.trust.keys import KeyTrouble, MasterKey

FILE = "master.key"
NEXT = "master.key.new"
_SECONDS = 60.0


def read(told: str | None, state: Path, environment: Mapping[str, str] = os.environ) -> MasterKey:
    """The master key from its source; `UsageError` says what is wrong with it, never what it is."""
    if told is None:
        return _of_file(state / FILE)
    kind, _, place = told.partition(":")
    if not place or kind not in ("file", "credential", "command"):
        raise UsageError("A master key comes from file:PATH, credential:NAME or command:PROGRAM ARGUMENTS.")
    if kind == "file":
        return _of_file(Path(place))
    if kind == "command":
        return _of_command(place)
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise UsageError(
            "There are no credentials: systemd sets CREDENTIALS_DIRECTORY by LoadCredentialEncrypted=."
        )
    if "/" in place or place in (".", ".."):
        raise UsageError(f"'{place}' is no name of a credential.")
    return _of_file(Path(folder) / place)


def matching(database: Database, told: str | None, state: Path) -> MasterKey:
    """The master key that the database was sealed with; ends a rotation that was cut short."""
    key = read(told, state)
    with database.snapshot() as conn:
        if fits(conn, key):
            return key
        following = state / NEXT
        if told is None and following.exists() and fits(conn, after := _of_file(following)):
            following.rename(state / FILE)
            return after
    raise UsageError("The state was sealed with another master key: name the one that belongs to it.")


def fits(conn: Connection, key: MasterKey) -> bool:
    """Whether the database was sealed with this key."""
    sealed = conn.execute(select(signing_keys.c.sealed).limit(1)).scalar()
    return sealed is None or key.sealed(sealed)


def reseal(conn: Connection, old: MasterKey, new: MasterKey) -> int:
    """Seal everything anew in one transaction; answers how many values that were."""
    count = 0
    for row in conn.execute(select(signing_keys)).all():
        context = signing.context(row.kid)
        sealed = new.seal(old.unseal(row.sealed, context), context)
        conn.execute(update(signing_keys).where(signing_keys.c.kid == row.kid).values(sealed=sealed))
        count += 1
    for row in conn.execute(select(secrets)).all():
        context = vault.context(row.name)
        sealed = new.seal(old.unseal(row.sealed, context), context)
        conn.execute(update(secrets).where(secrets.c.name == row.name).values(sealed=sealed))
        count += 1
    for row in conn.execute(select(vault_versions)).all():
        context = vault_secrets.context(row.vault_key, row.name_key, row.version)
        sealed = new.seal(old.unseal(row.sealed, context), context)
        conn.execute(update(vault_versions).where(vault_versions.c.seq == row.seq).values(sealed=sealed))
        count += 1
    return count + credentials.reseal(conn, old, new) + factors.reseal(conn, old, new)


def _of_file(path: Path) -> MasterKey:
    try:
        if path.stat().st_mode & 0o077:
            raise UsageError(f"{path} may be read by others: chmod 600 {path}, and change it if anybody did.")
        return MasterKey.from_text(path.read_text())
    except FileNotFoundError:
        raise UsageError(
            f"{path} is missing: put it back from your backup of it, or name its source with --master-key."
        ) from None
    except (KeyTrouble, UnicodeDecodeError) as broken:
        raise UsageError(f"{path}: {broken}") from broken


def _of_command(line: str) -> MasterKey:
    """What a program prints; its output is shown to nobody."""
    try:
        done = subprocess.run(
            shlex.split(line), stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as trouble:
        raise UsageError(
            f"The command for the master key cannot be run: {type(trouble).__name__}."
        ) from trouble
    if done.returncode != 0:
        raise UsageError(f"The command for the master key ended with {done.returncode}.")
    try:
        return MasterKey.from_text(done.stdout.decode(errors="replace"))
    except KeyTrouble as broken:
        raise UsageError(f"The command for the master key: {broken}") from broken
