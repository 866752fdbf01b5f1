"""What makes the audit trail provable: signed checkpoints, their key, and an end to old records that can be shown.

Checkpoints are made every minute in which something was recorded, at the end of the process and for each export; of
those before today one a day is kept.  The newest lies in `audit.head` in the state directory too, so that a database
that was put back, or cut off, does not fit.  Called by `housekeeping` and by exports.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, func, insert, select

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.db.tables_audit import audit as records
from wherry.control.db.tables_audit import audit_checkpoints as checkpoints
from wherry.control.db.tables_identity import signing_keys
from wherry.control.services import certificates, signing
from wherry.trust import authority, transcript
from wherry.trust.chain import Checkpoint
from wherry.trust.keys import MasterKey, PrivateKey
from wherry.trust.signed import Untrusted

HEAD = "audit.head"
"""The file in the state directory with the newest checkpoint and the certificates of those who sign them."""

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """What checkpoints are made with: the sealing key, and the name of the trail (the deployment's tenant)."""

    master: MasterKey
    trail: str


def advance(conn: Connection, ledger: Ledger, now: float) -> str | None:
    """A checkpoint of the last record, when the newest one is of an earlier record; what `audit.head` is to hold."""
    last = conn.execute(select(records.c.seq, records.c.hash).order_by(records.c.seq.desc()).limit(1)).first()
    newest = newest_checkpoint(conn)
    if last is None or (newest is not None and newest.seq >= last.seq):
        return None
    kid, key = _signer(conn, ledger.master, now)
    signed = Checkpoint(ledger.trail, first_kept(conn), last.seq, last.hash, now).sign(key, kid)
    if newest is not None and newest.at // _DAY == now // _DAY and newest.seq >= first_kept(conn):
        conn.execute(delete(checkpoints).where(checkpoints.c.seq == newest.seq))
    conn.execute(insert(checkpoints).values(seq=last.seq, at=now, hash=last.hash, signed=signed))
    return json.dumps({"checkpoint": signed, "certificates": signers(conn)})


def prune(conn: Connection, ledger: Ledger, now: float, days: float) -> str | None:
    """Remove records older than `days` up to a checkpoint, which stays as what the rest is tied to.

    The removal is a record itself, and the signed beginning of the trail moves on with it.
    """
    past = conn.execute(
        select(checkpoints.c.seq)
        .where(checkpoints.c.at < now - days * _DAY)
        .order_by(checkpoints.c.seq.desc())
        .limit(1)
    ).scalar()
    first = first_kept(conn)
    if past is None or past < first:
        return None
    audit.append(
        conn,
        Record("wherry/audit/pruned", "allowed", details={"first": first, "last": past, "keepDays": days}),
        now,
    )
    conn.execute(delete(records).where(records.c.seq <= past))
    conn.execute(delete(checkpoints).where(checkpoints.c.seq < past))
    return advance(conn, ledger, now)


def reconcile(conn: Connection, head: str | None, now: float) -> bool:
    """Whether the trail goes on from what `audit.head` says; when not, a record of that is the first thing in it.

    None for no head: that is right as long as nothing was signed.
    """
    if head is None and newest_checkpoint(conn) is None:
        return True
    try:
        if head is None:
            raise Untrusted("there is none")
        told = json.loads(head)
        known = transcript.keys_of(told["certificates"], certificates.ca_certificate(conn))
        last = Checkpoint.read(str(told["checkpoint"]), known)
    except (ValueError, KeyError, TypeError, Untrusted):
        state = "missing" if head is None else "not readable"
        details: dict[str, object] = {"head": state}
        reason = f"audit.head is {state}: whether the end was cut off cannot be said"
    else:
        found = conn.execute(select(records.c.hash).where(records.c.seq == last.seq)).scalar()
        if found == last.hash or last.seq < first_kept(conn):
            return True
        details = {"signed": last.seq, "hash": last.hash, "at": last.at}
        reason = (
            "the trail does not go on from audit.head: the database was put back, or records were cut off"
        )
    audit.append(conn, Record("wherry/audit/discontinuity", "denied", reason=reason, details=details), now)
    return False


def newest_checkpoint(conn: Connection) -> Row[tuple[int, float, str, str]] | None:
    """The checkpoint of the latest record that has one."""
    return conn.execute(select(checkpoints).order_by(checkpoints.c.seq.desc()).limit(1)).first()


def first_kept(conn: Connection) -> int:
    """The number of the first record that was not pruned; 1 for an empty trail."""
    return int(conn.execute(select(func.min(records.c.seq))).scalar() or 1)


def signers(conn: Connection) -> list[str]:
    """The certificates (PEM) of all keys that have signed checkpoints."""
    return list(
        conn.execute(select(signing_keys.c.public).where(signing_keys.c.purpose == "audit")).scalars()
    )


def _signer(conn: Connection, master: MasterKey, now: float) -> tuple[str, PrivateKey]:
    """The key that signs checkpoints, made when it is first needed."""
    row = conn.execute(
        select(signing_keys)
        .where(signing_keys.c.purpose == "audit")
        .order_by(signing_keys.c.created_at.desc())
        .limit(1)
    ).first()
    if row is not None:
        return row.kid, PrivateKey.from_pem(master.unseal(row.sealed, signing.context(row.kid)), ours=True)
    issued = certificates.issue_signer(conn, master, transcript.SIGNER, now)
    kid = authority.fingerprint(issued.certificate)
    until = now + authority.CA_DAYS * _DAY
    conn.execute(
        insert(signing_keys).values(
            kid=kid,
            purpose="audit",
            sealed=master.seal(issued.key, signing.context(kid)),
            public=issued.certificate.decode(),
            created_at=now,
            signs_from_at=now,
            signs_until_at=until,
            verifies_until_at=until,
        )
    )
    return kid, PrivateKey.from_pem(issued.key, ours=True)
