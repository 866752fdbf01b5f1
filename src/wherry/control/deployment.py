"""The state directory of a control plane: made once, opened by one process at a time.

    wherry.db  master.key (0600)  ca.pem  tls/{server.pem,server.key}  deployment.json  version  lock  admin.sock
    audit.head  standing  (what tells a database that was put back: `audit_state`, `services.standing`)

A new directory is built beside its place and renamed into it, so a half-made one never exists.  `create_or_open`
holds an exclusive lock until `close`; `describe` reads what `wherry env` prints and takes no lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from wherry.control import audit, master_key
from wherry.control.audit import Record
from wherry.control.db import schema
from wherry.control.db.engine import Database
from wherry.control.services import certificates, first_start
from wherry.model.errors import UsageError
from wherry.trust.keys import MasterKey

FORMAT = 1
"""Version of the directory's layout; a newer one is refused."""

_BUILDING = ".new-"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """What `deployment.json` holds: who this deployment is and where it was last reached."""

    tenant: str
    subscription: str
    public_url: str = ""
    ca_file: str = ""

    @classmethod
    def read(cls, state: Path) -> Identity:
        try:
            document = json.loads((state / "deployment.json").read_text())
            return cls(
                **{name: str(document[name]) for name in ("tenant", "subscription", "public_url", "ca_file")}
            )
        except FileNotFoundError:
            raise UsageError(
                f"{state} is not a state directory. Name the one of `wherry serve --state`."
            ) from None
        except (ValueError, KeyError, TypeError) as broken:
            raise UsageError(f"{state}/deployment.json is damaged: restore it from a backup.") from broken

    def write(self, state: Path) -> None:
        """Put this into `deployment.json`; what else is in there (`settings`) stays."""
        path = state / "deployment.json"
        others = json.loads(path.read_text()) if path.exists() else {}
        replace(path, json.dumps({**others, **asdict(self)}, indent=2).encode() + b"\n")


class Deployment:
    """An opened state directory.  `first_password` is set when this call created it."""

    def __init__(self, state: Path, lock: int, key_from: str | None = None) -> None:
        self.state = state
        self.identity = Identity.read(state)
        self.database = Database(f"sqlite:///{state / 'wherry.db'}")
        schema.upgrade(self.database)
        self.master = master_key.matching(self.database, key_from, state)
        self.first_password: str | None = None
        self._lock = lock

    @property
    def tenant(self) -> str:
        return self.identity.tenant

    @property
    def subscription(self) -> str:
        return self.identity.subscription

    @property
    def ca_file(self) -> Path:
        return self.state / "ca.pem"

    @property
    def certificate_file(self) -> Path:
        return self.state / "tls" / "server.pem"

    @property
    def key_file(self) -> Path:
        return self.state / "tls" / "server.key"

    def ensure_certificate(self, hosts: Iterable[str], now: float) -> None:
        """A server certificate of our CA that is good for `hosts`; made anew when it is not."""
        wanted = list(hosts)
        if self.key_file.exists() and certificates.good_for(self.certificate_file, wanted, now):
            return
        with self.database.snapshot() as conn:
            issued = certificates.issue(conn, self.master, wanted, now)
        self.certificate_file.parent.mkdir(mode=0o700, exist_ok=True)
        replace(self.key_file, issued.key)
        replace(self.certificate_file, issued.certificate + self.ca_file.read_bytes(), mode=0o644)

    def publish(self, public_url: str, ca_file: Path) -> None:
        """Remember where this deployment is reached, for `wherry env` and for clients that are told to trust it."""
        self.identity = Identity(self.tenant, self.subscription, public_url, str(ca_file))
        self.identity.write(self.state)

    def close(self) -> None:
        """Close the database and give up the lock."""
        self.database.close()
        os.close(self._lock)


def create_or_open(state: Path, now: float | None = None, key_from: str | None = None) -> Deployment:
    """The deployment in `state`, created when the directory is absent or empty; `key_from`: see `master_key`.

    Raises `UsageError` when another process uses it, when it or its database is newer than this program, when it is
    damaged, or when `state` is a directory with something else in it.
    """
    state = state.absolute()
    password = None
    if is_new(state):
        at = time.time() if now is None else now
        password = make(state, lambda building: _build(building, at, key_from))
    _check_version(state)
    lock = _acquire(state)
    try:
        deployment = Deployment(state, lock, key_from)
    except BaseException:
        os.close(lock)
        raise
    deployment.first_password = password
    return deployment


def describe(state: Path) -> Identity:
    """Who the deployment in `state` is and where it was last reached; takes no lock, changes nothing."""
    _check_version(state)
    return Identity.read(state)


def holder(state: Path) -> str | None:
    """The id of the process that uses the state now, None when nobody does."""
    try:
        lock = os.open(state / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # A shared one: it is gone at once, and does not turn away who starts meanwhile for longer.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(lock, 32).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(lock)
    return None


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put `content` in place of `path` so that a crash leaves the old or the new, whole and on disk."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def is_new(state: Path) -> bool:
    """Whether a state may be made here: the directory is absent or empty."""
    leftovers = ("lost+found", _BUILDING)
    return not state.exists() or all(name.startswith(leftovers) for name in os.listdir(state))


def make(state: Path, build: Callable[[Path], T]) -> T:
    """Let `build` fill a directory that becomes `state`, which is absent or empty; all of it or nothing."""
    # A mounted directory cannot be replaced by a rename: it is filled instead.
    mounted = state.is_mount()
    name = f"{_BUILDING}{secrets.token_hex(4)}"
    building = state / name if mounted else state.with_name(f"{name}.{state.name}")
    try:
        building.parent.mkdir(parents=True, exist_ok=True)
        building.mkdir(mode=0o700)
        try:
            made = build(building)
            if mounted:
                _fill(building, state)
            else:
                building.rename(state)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as trouble:
        raise UsageError(f"The state directory {state} cannot be made: {trouble.strerror}.") from trouble
    return made


def rotate_master_key(state: Path, key_from: str | None, new_from: str | None) -> int:
    """Seal everything in `state` with another master key, a new one in its file when no source is named.

    The state must not be served meanwhile.  A crash leaves the old or the new key, and everything opens with it.
    """
    opened = create_or_open(state, key_from=key_from)
    try:
        new = MasterKey.generate() if new_from is None else master_key.read(new_from, opened.state)
        if new == opened.master:
            raise UsageError("That is the master key already: name another source.")
        if new_from is None:
            replace(opened.state / master_key.NEXT, new.text().encode())
        with opened.database.transaction() as conn:
            count = master_key.reseal(conn, opened.master, new)
            reason = f"on the machine by uid {os.getuid()}"
            done = Record("wherry/master-key/rotated", "allowed", reason=reason, details={"values": count})
            audit.append(conn, done, time.time())
        if new_from is None:
            (opened.state / master_key.NEXT).rename(opened.state / master_key.FILE)
        return count
    finally:
        opened.close()


def _fill(building: Path, state: Path) -> None:
    """Move everything, and `version`, which makes it a state, at the end."""
    for name in sorted(os.listdir(building), key=lambda name: name == "version"):
        (building / name).rename(state / name)
    state.chmod(0o700)


def _build(building: Path, now: float, key_from: str | None) -> str:
    if key_from is None:
        replace(building / master_key.FILE, MasterKey.generate().text().encode())
    master = master_key.read(key_from, building)
    identity = Identity(str(uuid.uuid4()), str(uuid.uuid4()))
    database = Database(f"sqlite:///{building / 'wherry.db'}")
    try:
        schema.upgrade(database)
        with database.transaction() as conn:
            first = first_start.populate(conn, master, identity.subscription, now)
    finally:
        database.close()
    replace(building / "ca.pem", first.ca_certificate, mode=0o644)
    identity.write(building)
    replace(building / "version", f"{FORMAT}\n".encode())
    return first.password


def _check_version(state: Path) -> None:
    try:
        version = int((state / "version").read_text())
    except (FileNotFoundError, ValueError):
        raise UsageError(
            f"{state} is not a state directory of wherry: name an empty or absent directory, or an existing state."
        ) from None
    if version > FORMAT:
        raise UsageError(
            f"{state} has format {version}, newer than this program knows ({FORMAT}). Use the newer version of wherry."
        )


def _acquire(state: Path) -> int:
    lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise UsageError(
            f"{state} is in use by process {holder}. Stop it, or choose another state directory."
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock
