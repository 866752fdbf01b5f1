"""The audit trail: one hash chain of records, written before the answer that they are about.

`append` writes inside a transaction of the caller, so that a write and its record are there together or not at all.
Allowed reads and denials of nobody in particular are only counted, and become one record a principal, action and
minute (`Counters`).  `verify` walks the chain.  Secrets never come here: callers name fields, not bodies.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, insert, select

from wherry.control.db.tables_identity import audit
from wherry.trust.device_flow import DeviceGrant
from wherry.trust.principals import Principal

FIRST = "0" * 64


@dataclass(frozen=True, slots=True)
class Record:
    """Who did what to what from where, and what was decided.

    `result`: allowed, denied, refused (allowed, then an error), counted.  `action` is the one that was decided on, or
    `wherry/<event>` for sign-ins, credentials and grants.
    """

    action: str
    result: str
    scope: str = ""
    actor: str = ""
    actor_kind: str = ""
    actor_name: str = ""
    session: str = ""
    jkt: str = ""
    source: str = ""
    request_id: str = ""
    reason: str = ""
    assignment: str = ""
    status: int = 0
    count: int = 1
    details: Mapping[str, Any] = field(default_factory=dict)


def of(principal: Principal, action: str, result: str, **fields: Any) -> Record:
    """A record about something that `principal` did."""
    return Record(
        action,
        result,
        actor=principal.oid,
        actor_kind=principal.kind,
        actor_name=principal.name,
        session=principal.session,
        jkt=principal.jkt or "",
        **fields,
    )


def about_device(record: Record, grant: DeviceGrant) -> Record:
    """The same record, about a decision on a device's request."""
    return replace(
        record,
        action=f"wherry/device/{grant.state}",
        details={
            "client": grant.client_id,
            "scope": grant.scope,
            "from": grant.source,
            "jkt": grant.jkt or "",
            "asks": [dict(detail) for detail in grant.details],
        },
    )


def append(conn: Connection, record: Record, now: float) -> int:
    """Put a record at the end of the chain; answers its number."""
    last = conn.execute(select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).first()
    seq, previous = (last.seq + 1, last.hash) if last else (1, FIRST)
    full = {name: value for name, value in asdict(record).items() if value not in ("", 0, {})}
    text = json.dumps({"at": now, **full}, sort_keys=True, separators=(",", ":"))
    conn.execute(
        insert(audit).values(seq=seq, at=now, record=text, previous=previous, hash=_hash(seq, previous, text))
    )
    return seq


def verify(conn: Connection) -> int | None:
    """The number of the first record that does not fit into the chain; None when all do."""
    expected, previous = 1, FIRST
    for row in conn.execute(select(audit).order_by(audit.c.seq)):
        if (
            row.seq != expected
            or row.previous != previous
            or row.hash != _hash(row.seq, previous, row.record)
        ):
            return expected
        expected, previous = expected + 1, row.hash
    return None


def records(conn: Connection, after: int = 0, limit: int = 1000) -> Iterator[dict[str, Any]]:
    """Records in order, as documents with their `seq`."""
    for row in conn.execute(select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(limit)):
        yield {"seq": row.seq, **json.loads(row.record)}


class Counters:
    """What is only counted: filled by the guard, emptied into the chain every minute and at the end."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str, str, int]] = Counter()
        self._lock = threading.Lock()

    def count(self, principal: Principal | None, action: str, result: str, now: float) -> None:
        who = (principal.oid, principal.kind) if principal else ("", "")
        with self._lock:
            self._counts[(*who, action, result, int(now // 60))] += 1

    def flush(self, conn: Connection, now: float, *, everything: bool = False) -> int:
        """Write the minutes that are over (or `everything`); answers how many records."""
        with self._lock:
            due = [key for key in self._counts if everything or key[4] < int(now // 60)]
            counts = {key: self._counts.pop(key) for key in due}
        for (actor, kind, action, result, minute), count in sorted(counts.items()):
            record = Record(
                action,
                "counted",
                actor=actor,
                actor_kind=kind,
                count=count,
                details={"result": result, "minute": minute * 60},
            )
            append(conn, record, now)
        return len(counts)


def _hash(seq: int, previous: str, text: str) -> str:
    return hashlib.sha256(f"{seq}\n{previous}\n{text}".encode()).hexdigest()
