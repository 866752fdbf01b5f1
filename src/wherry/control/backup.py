"""`wherry backup`: everything of a state directory in one file, also while a control plane works on it.

The database is copied as of one moment; the segments of copy logs are those that this copy names, and they never
change.  The master key and the service's own TLS key are never in it.  Called by `cli.backup`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from wherry import __version__
from wherry.control import deployment
from wherry.control.backup_file import BESIDE, DATABASE, PACKAGES, SEGMENTS, Manifest, Writer, is_ours
from wherry.control.db import copies
from wherry.model.errors import UsageError, WherryError


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that is on disk."""

    manifest: Manifest
    size: int
    sha256: str


def take(state: Path, into: Path, now: float) -> Made:
    """Make the file `into`, which is there whole or not at all; raises `UsageError` when it is there already."""
    tenant = deployment.describe(state).tenant
    _check(state, into)
    beside = into.with_name(f".{into.name}.{secrets.token_hex(4)}")
    try:
        manifest = _write(state, beside, Manifest(now, __version__, tenant, ""))
        digest = _digest(beside)
        size = beside.stat().st_size
        beside.rename(into)
        _sync(into.parent)
    finally:
        beside.unlink(missing_ok=True)
    return Made(manifest, size, digest)


def would_take(state: Path) -> list[tuple[str, int]]:
    """The files that a backup would hold now, with their sizes; nothing is made."""
    deployment.describe(state)
    found = [(DATABASE, (state / DATABASE).stat().st_size)]
    found += [(name, (state / name).stat().st_size) for name in _beside(state)]
    with closing(sqlite3.connect(state / DATABASE, timeout=30)) as database:
        for name in _segments(database):
            path = state / SEGMENTS / name
            if path.is_file():
                found.append((f"{SEGMENTS}/{name}", path.stat().st_size))
    return found


def _check(state: Path, into: Path) -> None:
    if into.exists():
        raise UsageError(f"{into} is there already: name another file.")
    if not into.parent.is_dir():
        raise UsageError(f"There is no folder {into.parent}.")
    if into.resolve().is_relative_to(state.resolve()):
        raise UsageError(
            f"{into} lies in the state directory: name a place elsewhere, best on another machine."
        )


def _write(state: Path, path: Path, manifest: Manifest) -> Manifest:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(handle, "wb") as file,
        tempfile.TemporaryDirectory(prefix=".wherry-backup-", dir=path.parent) as folder,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        writer = Writer(archive, manifest)
        copied = Path(folder) / DATABASE
        copies.copy(state / DATABASE, copied)
        writer.add(DATABASE, copied)
        for name in _beside(state):
            writer.add_content(name, (state / name).read_bytes())
        with closing(sqlite3.connect(copied)) as database:
            manifest.revision = _revision(database)
            for name in _segments(database):
                _add_segment(writer, state, name)
        writer.end()
        archive.close()
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _add_segment(writer: Writer, state: Path, name: str) -> None:
    try:
        content = (state / SEGMENTS / name).read_bytes()
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() == name.rpartition("-")[2]:
        writer.add_content(f"{SEGMENTS}/{name}", content)
    else:
        writer.manifest.missing.append(name)


def _beside(state: Path) -> list[str]:
    packages = sorted(f"{PACKAGES}/{one.name}" for one in (state / PACKAGES).glob("*") if one.is_file())
    return [name for name in (*BESIDE, *packages) if is_ours(name) and (state / name).is_file()]


def _segments(database: sqlite3.Connection) -> Iterator[str]:
    for (name,) in database.execute("SELECT DISTINCT name FROM segments ORDER BY name"):
        yield str(name)


def _revision(database: sqlite3.Connection) -> str:
    found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None:
        raise WherryError("The database has no schema: start the control plane once.")
    return str(found[0])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
