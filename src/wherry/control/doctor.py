"""`wherry doctor`: looks a state directory over, served or not, and changes nothing.

Every check says what it found and what to do.  One that cannot be made says so; the others go on.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from sqlalchemy.exc import SQLAlchemyError

from wherry.control import audit_state, deployment, examined_database, master_key
from wherry.control.db import schema
from wherry.control.db.engine import Database
from wherry.control.deployment import Identity
from wherry.control.examined import Finding, failed, passed, warned
from wherry.model.errors import WherryError
from wherry.trust import authority

LITTLE_ROOM, NO_ROOM = 2 << 30, 256 << 20
_DAY = 86400.0
_SECONDS = 10.0
_SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")


def examine(state: Path, key_from: str | None, now: float) -> Iterator[Finding]:
    """All checks of the deployment in `state`; raises `UsageError` when it is no state directory."""
    identity = deployment.describe(state)
    yield _permissions(state)
    yield _room(state)
    database = Database(f"sqlite:///{(state / 'wherry.db').absolute()}")
    try:
        yield _tried("master key", lambda: _key(database, key_from, state))
        yield _tried("database", lambda: examined_database.integrity(database))
        yield _tried("schema", lambda: _schema(database))
        yield _tried("audit trail", lambda: _trail(state))
        yield _tried(
            "clock", lambda: examined_database.clock(database, now, synchronized=_SYNCHRONIZED.exists())
        )
        yield _tried("certificate", lambda: _certificate(state, identity, now))
        yield _tried("service", lambda: _service(state, identity))
        yield _tried("grants", lambda: examined_database.grants(database, now))
        yield _tried("credentials", lambda: examined_database.credentials(database, now))
        yield _tried("agents", lambda: examined_database.agents(database, now))
    finally:
        database.close()


def _tried(check: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except SQLAlchemyError as broken:
        told = str(getattr(broken, "orig", broken))
        return failed(check, f"The database cannot be read: {told}.", "Restore a backup: wherry restore.")
    except (WherryError, OSError, ValueError) as trouble:
        return failed(check, str(trouble), "Put that right and ask again.")


def _permissions(state: Path) -> Finding:
    """The directory and what is secret in it belong to who serves it, and to nobody else."""
    owner = state.stat().st_uid
    wrong = []
    for path in (state, state / master_key.FILE, state / "tls" / "server.key"):
        if not path.exists():
            continue
        found = path.stat()
        if stat.S_IMODE(found.st_mode) & 0o077:
            wrong.append((path, "may be read by others"))
        elif found.st_uid != owner:
            wrong.append((path, "belongs to another user than the directory"))
    if wrong:
        told = "; ".join(f"{path} {what}" for path, what in wrong)
        return failed(
            "permissions",
            f"{told}.",
            "Give all of it to the user who serves it, and take it from all others: chmod -R go= DIR.",
        )
    return passed("permissions", f"{state} is for uid {owner} alone.")


def _room(state: Path) -> Finding:
    free = shutil.disk_usage(state).free
    told = f"{free / (1 << 30):.1f} GiB are free."
    remedy = "Make room: a full disk stops all writes. Copy logs are in segments; they go with their jobs."
    if free < NO_ROOM or os.statvfs(state).f_favail == 0 < os.statvfs(state).f_files:
        return failed("disk room", told, remedy)
    return warned("disk room", told, remedy) if free < LITTLE_ROOM else passed("disk room", told)


def _key(database: Database, key_from: str | None, state: Path) -> Finding:
    key = master_key.read(key_from, state)
    with database.snapshot() as conn:
        if not master_key.fits(conn, key):
            remedy = "Name the one that belongs to it with --master-key, or put it back from your copy."
            return failed("master key", "The state was sealed with another master key.", remedy)
    return passed("master key", "It is there and fits.")


def _schema(database: Database) -> Finding:
    found = schema.revision(database)
    if found == schema.HEAD:
        return passed("schema", f"It is {found}, as this program's.")
    if found is not None and found < schema.HEAD:
        told = f"It is {found}, this program's is {schema.HEAD}."
        return warned(
            "schema", told, "The next start brings it along and keeps a copy: make a backup before."
        )
    return failed(
        "schema", f"It is {found}, this program's is {schema.HEAD}.", "Use the newer version of wherry."
    )


def _trail(state: Path) -> Finding:
    verdict = audit_state.verify(state)
    if verdict.whole:
        return passed("audit trail", f"Records {verdict.first} to {verdict.last} are whole.")
    return failed(
        "audit trail", " ".join(verdict.troubles), "Look at it with: wherry audit verify --state DIR."
    )


def _certificate(state: Path, identity: Identity, now: float) -> Finding:
    ca = (authority.expires((state / "ca.pem").read_bytes()) - now) / _DAY
    if ca < 365:
        told = f"The authority's certificate ends in {ca:.0f} days."
        say = failed if ca < 0 else warned
        return say(
            "certificate", told, "Plan for a new deployment: agents trust this authority and no other."
        )
    file = state / "tls" / "server.pem"
    if Path(identity.ca_file) != state.absolute() / "ca.pem" and identity.ca_file:
        file = Path(identity.ca_file)
    if not file.exists():
        return warned("certificate", "The service has none yet.", "The next start makes one.")
    left = (authority.expires(file.read_bytes()) - now) / _DAY
    told = f"{file} ends in {left:.0f} days, the authority in {ca:.0f}."
    if left < 0:
        return failed("certificate", told, "Renew it; that of ours is renewed by a start.")
    return warned("certificate", told, "Renew it.") if left < 14 else passed("certificate", told)


def _service(state: Path, identity: Identity) -> Finding:
    """Whether somebody serves the state, and answers at its address; else whether that is free."""
    holder = deployment.holder(state)
    url = identity.public_url
    if not url:
        return warned("service", "It was never served.", f"Start it: wherry serve --state {state}")
    if holder is None:
        port = urlsplit(url).port or 443
        if _taken(port):
            told = f"It does not run, and another program listens on port {port}."
            return failed("service", told, "End that program, or serve at another address with --listen.")
        return warned("service", "It does not run.", f"Start it: wherry serve --state {state}")
    context = authority.client_context(identity.ca_file) if identity.ca_file else ssl.create_default_context()
    try:
        answer = httpx.get(f"{url}/healthz", verify=context, timeout=_SECONDS, trust_env=False)
    except httpx.HTTPError as trouble:
        remedy = "Look at its log, at the name in its public URL, and at what is between."
        return failed("service", f"Process {holder} does not answer at {url}: {trouble}.", remedy)
    if answer.status_code != 200:
        told = f"Process {holder} answers with {answer.status_code} at {url}."
        return failed("service", told, "Look at its log.")
    return passed("service", f"Process {holder} answers at {url}.")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(_SECONDS)
        return probe.connect_ex(("127.0.0.1", port)) == 0
