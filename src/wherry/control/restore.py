"""`wherry restore`: a state directory out of a backup, as a new incarnation of the deployment.

Everything is checked and made in a directory beside, which takes its place at the end, or is thrown away.  Nothing
that was given out before is accepted afterwards: tokens, sign-ins, leases and commits end with the incarnation and the
signing keys, and the access of all runs is taken back; who still may gets it anew.  Called by `cli.backup`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from wherry.control import audit, backup_file, deployment, master_key
from wherry.control.audit import Record
from wherry.control.backup_file import DATABASE, Manifest
from wherry.control.db import schema
from wherry.control.db.engine import Database
from wherry.control.deployment import Identity
from wherry.control.services import audit_proof, lapses, standing
from wherry.control.services.audit_proof import HEAD, Ledger
from wherry.model.errors import UsageError
from wherry.trust.keys import MasterKey


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it: of when the backup is, what was taken away, and how many runs lost their access."""

    manifest: Manifest
    withdrawn: int
    runs: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person says.

    `key` is a file, which becomes `master.key` of the new state, or a source as `wherry serve --master-key` takes it,
    which stays where it is.  `sha256` is what the backup told when it was made, `standing` the file of this name in the
    state directory that was lost: what was taken away since the backup stays so.
    """

    file: Path
    state: Path
    key: str
    sha256: str = ""
    standing: Path | None = None


def restore(wanted: Wanted, now: float) -> Restored:
    """Make the state; raises `UsageError`, and changes nothing, when anything is not as it should be."""
    state = wanted.state.absolute()
    if not deployment.is_new(state):
        raise UsageError(f"{state} is not empty: a backup is restored into a directory of its own.")
    if not wanted.file.is_file():
        raise UsageError(f"There is no file {wanted.file}.")
    if wanted.sha256 and _digest(wanted.file) != wanted.sha256.strip().lower():
        raise UsageError(f"{wanted.file} is not the backup with this SHA-256.")
    told = None if wanted.standing is None else wanted.standing.read_text()
    with backup_file.reading(wanted.file) as reader:

        def build(building: Path) -> Restored:
            reader.extract(building)
            master = _key(wanted.key, building)
            _keep_address(building, state)
            withdrawn, count = _begin_anew(building, master, reader.manifest, told, now)
            return Restored(reader.manifest, withdrawn, count)

        return deployment.make(state, build)


def _key(told: str, building: Path) -> MasterKey:
    """The master key; that of a file is kept in the state."""
    if told.startswith(("file:", "credential:", "command:")):
        return master_key.read(told, building)
    found = master_key.read(f"file:{told}", building)
    deployment.replace(building / master_key.FILE, found.text().encode())
    return found


def _keep_address(building: Path, state: Path) -> None:
    """The public URL stays what it was; the CA's certificate is the one in the new place."""
    identity = Identity.read(building)
    if identity.ca_file:
        replace(identity, ca_file=str(state / "ca.pem")).write(building)


def _begin_anew(
    building: Path, master: MasterKey, manifest: Manifest, told: str | None, now: float
) -> tuple[int, int]:
    database = Database(f"sqlite:///{building / DATABASE}")
    try:
        schema.upgrade(database, keep=False)
        with database.transaction() as conn:
            if not master_key.fits(conn, master):
                raise UsageError(
                    "The backup was sealed with another master key: name the one that belongs to it."
                )
            _record(conn, manifest, now)
            withdrawn = standing.withdraw(conn, master, told, now)
            count = lapses.take_all_back(conn, now)
            in_force = standing.now_in_force(conn)
            head = audit_proof.advance(conn, Ledger(master, manifest.tenant), now)
    finally:
        database.close()
    deployment.replace(building / standing.FILE, in_force.encode())
    if head is not None:
        deployment.replace(building / HEAD, head.encode() + b"\n")
    return withdrawn, count


def _record(conn: Connection, manifest: Manifest, now: float) -> None:
    details: dict[str, object] = {"takenAt": manifest.at, "version": manifest.version}
    reason = f"on the machine by uid {os.getuid()}"
    audit.append(conn, Record("wherry/backup/restored", "allowed", reason=reason, details=details), now)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
