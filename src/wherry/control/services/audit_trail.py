"""Reading the audit trail: what of it is asked for, the newest first, and as the lines of an exported file.

Records are canonical JSON in one column: filters look into them here, over a bounded number at a time: the trail needs
no index for each question and a page may be short.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.db.tables_audit import audit as records
from wherry.control.db.tables_audit import audit_checkpoints as checkpoints
from wherry.control.services import audit_proof
from wherry.control.services.audit_proof import Ledger
from wherry.model import ids
from wherry.model.errors import ApiError
from wherry.trust import transcript
from wherry.trust.chain import FIRST

SCANNED = 20_000
"""Records that are looked at for one page."""

BATCH = 2_000
"""Records of an export that are read at a time."""

_LONGEST = 512


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for; empty members ask for everything.  `since` and `until` are Unix seconds.

    `who` is an object id or a name, `action` may hold `*`, `scope` a resource id with all below it.
    """

    since: float | None = None
    until: float | None = None
    who: str = ""
    action: str = ""
    result: str = ""
    scope: str = ""
    source: str = ""
    request: str = ""

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Filter:
        """The filter that a query names; 400 for what cannot be one."""
        told: dict[str, Any] = {}
        for one in fields(cls):
            value = query.get(one.name, "").strip()
            if len(value) > _LONGEST:
                raise _invalid(one.name, f"has at most {_LONGEST} characters")
            told[one.name] = value
        for name in ("since", "until"):
            told[name] = _moment(name, told[name]) if told[name] else None
        results = ("", "allowed", "denied", "refused", "failed", "counted")
        if told["result"] not in results:
            raise _invalid("result", f"is one of {', '.join(results[1:])}")
        return cls(**told)

    def takes(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is asked for, apart from its time."""
        people = (record.get("actor", ""), record.get("actor_name", ""))
        given = record["details"].get("result") if record["result"] == "counted" else None
        return (
            (not self.who or self.who.lower() in (one.lower() for one in people))
            and (not self.action or fnmatch.fnmatch(record["action"].lower(), self.action.lower()))
            and (not self.result or self.result in (record["result"], given))
            and (not self.scope or ids.contains(self.scope, record.get("scope", "")))
            and (not self.source or self.source == record.get("source"))
            and (not self.request or self.request == record.get("request_id"))
        )

    @property
    def all_of_a_time(self) -> bool:
        return not any((self.who, self.action, self.result, self.scope, self.source, self.request))


@dataclass(frozen=True, slots=True)
class Range:
    """The records of an export, first and last, with what is before and behind them."""

    first: int
    last: int
    previous: str
    checkpoint: str
    head: str | None


def page(
    conn: Connection, asked: Filter, before: int | None, size: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Up to `size` records below number `before`, the newest first, and the number to go on below, if any."""
    query = _timed(select(records.c.seq, records.c.record), asked)
    if before is not None:
        query = query.where(records.c.seq < before)
    found: list[dict[str, Any]] = []
    seq, looked = 0, 0
    for row in conn.execute(query.order_by(records.c.seq.desc()).execution_options(yield_per=500)):
        record, seq, looked = json.loads(row.record), row.seq, looked + 1
        if asked.takes(record):
            found.append(shown(seq, record))
        if len(found) == size or looked == SCANNED:
            return found, seq if seq > audit_proof.first_kept(conn) else None
    return found, None


def one(conn: Connection, seq: int) -> dict[str, Any]:
    """A record with its hash; 404 when there is none of this number."""
    row = conn.execute(select(records).where(records.c.seq == seq)).first()
    if row is None:
        raise ApiError(404, "AuditRecordNotFound", f"There is no audit record {seq}.")
    return {**shown(row.seq, json.loads(row.record)), "hash": row.hash}


def shown(seq: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it is answered: its number and its time for people before all else."""
    time = datetime.fromtimestamp(record["at"], UTC)
    return {"seq": seq, "time": f"{time:%Y-%m-%dT%H:%M:%S.%f}Z", **record}


def begin_export(
    conn: Connection, ledger: Ledger, asked: Filter, record: Record, now: float
) -> tuple[Range, str]:
    """Record that the trail is exported and sign its end; answers what to export and the first line of the file."""
    audit.append(conn, record, now)
    head = audit_proof.advance(conn, ledger, now)
    first, last = conn.execute(_timed(select(func.min(records.c.seq), func.max(records.c.seq)), asked)).one()
    if first is None:
        raise ApiError(404, "AuditRecordNotFound", "There is no record of this time.")
    row = conn.execute(
        select(checkpoints).where(checkpoints.c.seq >= last).order_by(checkpoints.c.seq).limit(1)
    ).one()
    previous = conn.execute(select(records.c.hash).where(records.c.seq == first - 1)).scalar()
    if previous is None:
        previous = conn.execute(select(checkpoints.c.hash).where(checkpoints.c.seq == first - 1)).scalar()
    told = Range(first, row.seq, previous or FIRST, row.signed, head)
    return told, transcript.head(ledger.trail, first, told.previous, audit_proof.signers(conn))


def lines(conn: Connection, asked: Filter, after: int, told: Range) -> tuple[list[str], int]:
    """The next lines of an export, and the number that they end with."""
    rows = conn.execute(
        select(records.c.seq, records.c.at, records.c.record, records.c.hash)
        .where(records.c.seq > after, records.c.seq <= told.last)
        .order_by(records.c.seq)
        .limit(BATCH)
    ).all()
    made = []
    for row in rows:
        timely = (asked.since is None or row.at >= asked.since) and (
            asked.until is None or row.at < asked.until
        )
        wanted = timely and (asked.all_of_a_time or asked.takes(json.loads(row.record)))
        form = transcript.line if wanted else transcript.omitted
        made.append(form(row.seq, row.hash, row.record))
    return made, rows[-1].seq if rows else told.last


def end_of(told: Range) -> str:
    """The last line of an export."""
    return transcript.end(told.checkpoint)


def _timed(query: Any, asked: Filter) -> Any:
    if asked.since is not None:
        query = query.where(records.c.at >= asked.since)
    if asked.until is not None:
        query = query.where(records.c.at < asked.until)
    return query


def _moment(name: str, told: str) -> float:
    try:
        read = datetime.fromisoformat(told)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as broken:
        raise _invalid(name, "is a time such as 2030-01-31T12:00:00Z") from broken


def _invalid(name: str, text: str) -> ApiError:
    return ApiError(400, "InvalidQueryParameter", f"'{name}' {text}.", name)
