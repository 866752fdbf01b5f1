"""The audit trail in a state directory: `audit.head` beside the database, and verifying both without a server.

`seal` is called by `housekeeping` while a control plane runs and by exports; `verify` by `wherry audit verify`, also
beside a running control plane, as it takes no lock and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
from sqlalchemy import Connection, select
from sqlalchemy.exc import DatabaseError

from wherry.control import deployment
from wherry.control.db.engine import Database
from wherry.control.db.tables_audit import audit as records
from wherry.control.db.tables_audit import audit_checkpoints as checkpoints
from wherry.control.plane import Plane
from wherry.control.services import audit_proof
from wherry.control.services.audit_proof import HEAD, Ledger
from wherry.model.errors import UsageError
from wherry.trust import chain, transcript
from wherry.trust.chain import FIRST, Checkpoint, Entry, Walk
from wherry.trust.keys import PublicKey
from wherry.trust.signed import Untrusted
from wherry.trust.transcript import Verdict


def ledger(plane: Plane) -> Ledger:
    """What checkpoints of this control plane are made with."""
    return Ledger(plane.master, plane.tenant)


async def seal(plane: Plane) -> None:
    """Prune what is too old, sign what is new, and keep the newest checkpoint beside the database."""
    now, days = plane.clock(), plane.settings.audit_keep_days
    head = await plane.database.write(audit_proof.prune, ledger(plane), now, days)
    head = head or await plane.database.write(audit_proof.advance, ledger(plane), now)
    await keep(plane, head)


async def keep(plane: Plane, head: str | None) -> None:
    """Put a new head in place of the one that is there."""
    if head is not None and plane.state is not None:
        await anyio.to_thread.run_sync(deployment.replace, plane.state / HEAD, head.encode() + b"\n")


async def reconcile(plane: Plane) -> bool:
    """At start: whether the database goes on from the head; when not, the trail says so from now on."""
    if plane.state is None:
        return True
    head = (plane.state / HEAD).read_text(errors="replace") if (plane.state / HEAD).exists() else None
    return await plane.database.write(audit_proof.reconcile, head, plane.clock())


def verify(state: Path, ca_file: Path | None = None, earlier: Checkpoint | None = None) -> Verdict:
    """Check the whole trail in a state directory against the CA's certificate (by default the one in it)."""
    identity = deployment.describe(state)
    if not (state / "wherry.db").is_file():
        raise UsageError(f"There is no database in {state}.")
    ca = (ca_file or state / "ca.pem").read_bytes()
    database = Database(f"sqlite:///{(state / 'wherry.db').absolute()}")
    try:
        with database.snapshot() as conn:
            return _verify(conn, identity.tenant, ca, _head(state), earlier)
    except DatabaseError as broken:
        raise UsageError(f"The database in {state} cannot be read: {broken.orig}.") from broken
    finally:
        database.close()


def _verify(
    conn: Connection, trail: str, ca: bytes, head: Mapping[str, Any] | None, earlier: Checkpoint | None
) -> Verdict:
    verdict = Verdict(trail=trail)
    told = [row.signed for row in conn.execute(select(checkpoints).order_by(checkpoints.c.seq))]
    certificates = audit_proof.signers(conn)
    if head is not None:
        told.append(str(head.get("checkpoint", "")))
        certificates += [str(one) for one in head.get("certificates", [])]
    marks = _marks(verdict, told, transcript.keys_of(certificates, ca))
    if earlier is not None:
        _add(verdict, marks, earlier, "The earlier file's checkpoint")
    newest = marks[max(marks)] if marks else None
    verdict.first = newest.first if newest else 1
    walk = _walk(conn, verdict, marks)
    verdict.last, verdict.records, verdict.signed_to = walk.seq, walk.count, walk.covered
    verdict.troubles += walk.troubles
    if walk.seq > walk.covered:
        first = max(walk.covered + 1, verdict.first)
        verdict.notes.append(
            f"Records {first} to {walk.seq} are tied to those before, but not signed yet: that is done every minute."
        )
    if head is None and newest is not None:
        verdict.troubles.append(f"{HEAD} is missing: whether the end was cut off cannot be said.")
    return verdict


def _marks(verdict: Verdict, told: list[str], keys: Mapping[str, PublicKey]) -> dict[int, Checkpoint]:
    marks: dict[int, Checkpoint] = {}
    for text in told:
        try:
            _add(verdict, marks, Checkpoint.read(text, keys), "A checkpoint")
        except Untrusted as refused:
            verdict.troubles.append(f"A checkpoint is not one of this deployment: {refused}.")
    return marks


def _add(verdict: Verdict, marks: dict[int, Checkpoint], found: Checkpoint, what: str) -> None:
    if found.trail != verdict.trail:
        verdict.troubles.append(f"{what} is of another deployment.")
        return
    known = marks.setdefault(found.seq, found)
    if known.hash != found.hash:
        verdict.troubles.append(f"{what} of record {found.seq} says something else than another one.")


def _walk(conn: Connection, verdict: Verdict, marks: dict[int, Checkpoint]) -> Walk:
    """Follow the chain from where the newest checkpoint says that it begins; what was pruned needs no marks."""
    before = FIRST
    if verdict.first > 1:
        anchor = select(checkpoints.c.hash).where(checkpoints.c.seq == verdict.first - 1)
        before = str(conn.execute(anchor).scalar() or "")
    kept = {seq: one for seq, one in marks.items() if seq >= verdict.first}
    walk = Walk(verdict.first - 1, before, kept)
    walk.covered = verdict.first - 1
    rows = select(records).order_by(records.c.seq).execution_options(yield_per=1000)
    for row in conn.execute(rows):
        walk.add(Entry(row.seq, chain.digest_of(row.record), row.hash))
        if _time(row.record) != row.at:
            walk.trouble(f"Record {row.seq} is filed under another time than it tells.")
    walk.end()
    return walk


def _time(record: str) -> Any:
    try:
        return json.loads(record)["at"]
    except (ValueError, KeyError, TypeError):
        return None


def _head(state: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads((state / HEAD).read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
