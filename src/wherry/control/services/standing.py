"""What is in force, kept beside the database: one that is put back brings nothing back that was taken away.

`standing` holds a digest of every principal, key, password, second factor, role and consent that is good.
`housekeeping` writes it each minute and at the end.  At a start on a database that was put back
(`audit_proof.reconcile` says so), and when a backup is restored, `withdraw` takes away what is not in it, and ends
every token, session and lease there is.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, select, update

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.db.tables_directory import memberships, program_credentials
from wherry.control.db.tables_factors import factors, recovery_codes
from wherry.control.db.tables_identity import (
    agent_keys,
    credentials,
    device_codes,
    enrolments,
    meta,
    principals,
    refresh_families,
    role_assignments,
    sessions,
    signing_keys,
)
from wherry.control.db.tables_ledger import consents, partitions
from wherry.control.services import agent_trust, owners, signing
from wherry.control.services import consents as consented
from wherry.model.errors import ApiError
from wherry.trust import passwords
from wherry.trust.keys import MasterKey

log = logging.getLogger("wherry.control")

FILE = "standing"
_BESIDE = (sessions, refresh_families, device_codes, enrolments)
_ROWS: Mapping[Table, tuple[str, ...]] = {
    role_assignments: ("name",),
    memberships: ("group_oid", "member_oid"),
    program_credentials: ("key_id",),
    factors: ("id",),
    recovery_codes: ("hash",),
}
"""What is taken away by deleting its row, and what names it."""


def now_in_force(conn: Connection) -> str:
    """The content of the file: a digest a line, sorted."""
    found = [_digest(name, key) for name, key, _ in _all(conn)]
    return "".join(f"{one}\n" for one in sorted(found))


def withdraw(conn: Connection, master: MasterKey, standing: str | None, now: float) -> int:
    """End all tokens, sessions and leases, and take away what `standing` does not hold; how much that was.

    Without the file only tokens and sessions end.  What would leave nobody who owns everything is left as it is.
    """
    for table in _BESIDE:
        conn.execute(delete(table))
    # Tokens name the key that has signed them: without it none is good, whatever epoch it tells.
    conn.execute(delete(signing_keys).where(signing_keys.c.purpose == "token"))
    signing.rotate(conn, master, now)
    fresh = {"value": secrets.token_hex(16)}
    if conn.execute(update(meta).where(meta.c.key == "incarnation").values(fresh)).rowcount == 0:
        conn.execute(insert(meta).values(key="incarnation", **fresh))
    # No holder can use them any more, and nobody else need wait for their end.
    conn.execute(update(partitions).where(partitions.c.expires_at > now).values(expires_at=now))
    gone = 0 if standing is None else _withdraw(conn, frozenset(standing.split()), now)
    details: dict[str, object] = {"withdrawn": gone, "known": standing is not None}
    audit.append(conn, Record("wherry/database/restored", "allowed", details=details), now)
    return gone


def _withdraw(conn: Connection, standing: frozenset[str], now: float) -> int:
    undo = conn.begin_nested()
    gone = [end for name, key, end in _all(conn) if _digest(name, key) not in standing]
    for end in gone:
        end(conn, now)
    try:
        owners.keep_one(conn)
    except ApiError:
        undo.rollback()
        log.warning("what was taken away since the backup is back: else nobody would own everything")
        return 0
    undo.commit()
    return len(gone)


End = Callable[[Connection, float], object]


def _all(conn: Connection) -> Iterable[tuple[str, str, End]]:
    """Everything that is in force: kind, name, and how it is taken away."""
    for table, columns in _ROWS.items():
        for row in conn.execute(select(*(table.c[name] for name in columns))).all():
            fits = and_(*(table.c[name] == value for name, value in zip(columns, row, strict=True)))
            yield table.name, "/".join(row), _deleting(table, fits)
    for one in conn.execute(select(consents.c.id).where(consents.c.ended_at.is_(None))).scalars().all():
        yield "consents", one, _ending(one)
    alive = select(principals.c.oid, principals.c.kind).where(
        principals.c.enabled, principals.c.deleted_at.is_(None)
    )
    kinds: dict[str, str] = {row.oid: row.kind for row in conn.execute(alive)}
    for oid, kind in kinds.items():
        yield "principals", oid, _locking(oid) if kind == "agent" else _disabling(oid)
    for row in conn.execute(select(agent_keys).where(agent_keys.c.state == "active")).all():
        if row.oid in kinds:
            yield "agent_keys", row.jkt, _locking(row.oid)
    for row in conn.execute(select(credentials)).all():
        yield "credentials", f"{row.oid}/{row.verifier}", _forgetting(row.oid)


def _deleting(table: Table, fits: ColumnElement[bool]) -> End:
    return lambda conn, _now: conn.execute(delete(table).where(fits))


def _ending(consent: str) -> End:
    return lambda conn, now: consented.end(conn, consent, now)


def _disabling(oid: str) -> End:
    return lambda conn, _now: conn.execute(
        update(principals).where(principals.c.oid == oid).values(enabled=False)
    )


def _locking(oid: str) -> End:
    def lock(conn: Connection, now: float) -> None:
        if conn.execute(select(principals.c.enabled).where(principals.c.oid == oid)).scalar():
            agent_trust.lock(conn, oid, "its key was not in force when the database was put back", now)

    return lock


def _forgetting(oid: str) -> End:
    """A password that nobody knows takes its place: it can be set anew."""

    def forget(conn: Connection, _now: float) -> None:
        verifier = passwords.protect(passwords.random_password())
        conn.execute(update(credentials).where(credentials.c.oid == oid).values(verifier=verifier))

    return forget


def _digest(kind: str, name: Any) -> str:
    return hashlib.sha256(f"{kind}/{name}".encode()).hexdigest()[:32]
