"""The audit trail: one hash chain of records, written before the answer that they are about.

`append` writes inside a transaction of the caller, so that a write and its record are there together or not at all.
Allowed reads and denials of nobody in particular are only counted, and become one record a principal, action and
minute (`Counters`).  `verify` walks the chain.  Secrets never come here: callers name fields, not bodies.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sqlalchemy import Connection, func, select, text

from wherry.control.db.tables_audit import audit as table
from wherry.control.db.tables_audit import audit_checkpoints as checkpoints
from wherry.trust import chain
from wherry.trust.chain import FIRST, Entry, Walk
from wherry.trust.device_flow import DeviceGrant
from wherry.trust.principals import Principal

# As plain text: an entry is made for every write, and building the statements anew costs more than all else of it.
_LAST = text("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
_INSERT = text("INSERT INTO audit (seq, at, record, hash) VALUES (:seq, :at, :record, :hash)")


@dataclass(frozen=True, slots=True)
class Record:
    """Who did what to what from where, and what was decided.

    `result`: allowed, denied (403, or no sign-in), refused (allowed, then an error), failed (what came of it is not
    known), counted.  `action` is the one that was decided on, or `wherry/<event>` for sign-ins, credentials and grants.
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


_ALWAYS = frozenset({"action", "result", "count"})
_OPTIONAL = tuple(one.name for one in fields(Record) if one.name not in _ALWAYS)


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
    """Put a record at the end of the chain; answers its number.

    Writers are one after the other: the transaction that this is in holds the database's write lock.
    """
    seq, previous = _end(conn)
    told = _canonical(record, now)
    tie = chain.link(seq, previous, chain.digest_of(told))
    conn.execute(_INSERT, {"seq": seq, "at": now, "record": told, "hash": tie})
    return seq


def verify(conn: Connection) -> int | None:
    """The number of the first record that does not fit into the chain; None when all do."""
    anchor = conn.execute(select(func.min(table.c.seq))).scalar() or 1
    before = conn.execute(select(checkpoints.c.hash).where(checkpoints.c.seq == anchor - 1)).scalar()
    walk = Walk(anchor - 1 if before else 0, before or FIRST)
    for row in conn.execute(select(table).order_by(table.c.seq).execution_options(yield_per=1000)):
        expected = walk.seq + 1
        walk.add(Entry(row.seq, chain.digest_of(row.record), row.hash))
        if walk.troubles:
            return expected
    return None


def records(conn: Connection, after: int = 0, limit: int = 1000) -> Iterator[dict[str, Any]]:
    """Records in order, as documents with their `seq`."""
    for row in conn.execute(select(table).where(table.c.seq > after).order_by(table.c.seq).limit(limit)):
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


def _end(conn: Connection) -> tuple[int, str]:
    """The number of the next record, and the hash before it."""
    last = conn.execute(_LAST).first()
    return (last[0] + 1, last[1]) if last else (1, FIRST)


def _canonical(record: Record, now: float) -> str:
    """Canonical JSON, without what is empty."""
    full: dict[str, Any] = {
        "at": now,
        "action": record.action,
        "result": record.result,
        "count": record.count,
    }
    for name in _OPTIONAL:
        if value := getattr(record, name):
            full[name] = value
    return json.dumps(full, sort_keys=True, separators=(",", ":"))
