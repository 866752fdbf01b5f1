"""What metrics are made of: counts that grow with each commit, and how everything stands at this moment.

`count` is called by `services.ledger` in the transaction of a commit, `standing` by the route `/metrics`.  All labels
come from enumerations of ours: a stranger cannot make a new time series, and no name of a person or resource is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, Select, case, delete, func, select, text
from sqlalchemy.sql import ColumnElement

from wherry.control.db.tables_agents import agent_trust
from wherry.control.db.tables_audit import audit, audit_checkpoints
from wherry.control.db.tables_credentials import run_credentials
from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_ledger import agent_presence, grants, partitions, waiters
from wherry.control.db.tables_metrics import run_minutes, totals
from wherry.control.db.tables_runs import runs
from wherry.model.outcomes import COUNTERS, Counters
from wherry.model.run import RunStatus

AGENT_STATES = ("Online", "Executing", "Offline", "Locked")
CREDENTIAL_STATES = ("opening", "live", "withdrawing")
KEPT_MINUTES = 93 * 24 * 60
"""How long minutes of runs are kept: as long as in Azure."""

MOST_SAMPLES = 100_000
"""Samples that one question is answered from."""

_TOTAL = text(
    "INSERT INTO totals (name, items, bytes) VALUES (:name, :items, :bytes) ON CONFLICT (name) DO UPDATE SET "
    "items = totals.items + excluded.items, bytes = totals.bytes + excluded.bytes"
)
_MINUTE = text(
    "INSERT INTO run_minutes (run, minute, scanned_items, transferred_items, transferred_bytes) "
    "VALUES (:run, :minute, :scanned, :items, :bytes) ON CONFLICT (run, minute) DO UPDATE SET "
    "scanned_items = run_minutes.scanned_items + excluded.scanned_items, "
    "transferred_items = run_minutes.transferred_items + excluded.transferred_items, "
    "transferred_bytes = run_minutes.transferred_bytes + excluded.transferred_bytes"
)


class Sample(NamedTuple):
    """What a run did in a minute; runs by name."""

    run: str
    minute: int
    scanned_items: int
    transferred_items: int
    transferred_bytes: int


@dataclass(slots=True)
class Standing:
    """How everything stands at one moment, in one consistent look."""

    runs: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    agents: dict[str, int] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    grants: dict[str, int] = field(default_factory=dict)
    credentials: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    audit_head: int = 0
    audit_signed: int = 0


def count(conn: Connection, run: str, counted: Counters, now: float) -> None:
    """What a commit brings, to the totals and to the minute that it falls into."""
    names = sorted(name for name, items in counted.items.items() if items)
    if not names:
        return
    # Always in the same order, so that two commits never wait for each other.
    rows = [
        {"name": name, "items": counted.items[name], "bytes": counted.bytes.get(name, 0)} for name in names
    ]
    conn.execute(_TOTAL, rows)
    told = {
        "run": run,
        "minute": int(now // 60),
        "scanned": counted.items.get("Scanned", 0),
        "items": counted.items.get("Transferred", 0),
        "bytes": counted.bytes.get("Transferred", 0),
    }
    if told["scanned"] or told["items"]:
        conn.execute(_MINUTE, told)


def samples(conn: Connection, mover: str, run: str, begin: int, end: int) -> list[Sample]:
    """What the runs of a mover did in the minutes from `begin` to before `end`; one more than `MOST_SAMPLES` at most.

    `run` is the name of one; '' and '*' stand for all.
    """
    columns = [column for column in run_minutes.c if column.name not in ("run", "minute")]
    # Not by the index of movers: a mover has many more runs than a span has minutes.
    of_mover = func.coalesce(runs.c.mover_key, "") == mover
    query = (
        select(runs.c.name, run_minutes.c.minute, *columns)
        .join(runs, runs.c.id == run_minutes.c.run)
        .where(of_mover, run_minutes.c.minute >= begin, run_minutes.c.minute < end)
    )
    if run not in ("", "*"):
        query = query.where(func.lower(runs.c.name) == run.lower())
    rows = conn.execute(query.order_by(run_minutes.c.minute).limit(MOST_SAMPLES + 1))
    return [Sample(*row) for row in rows]


def forget_minutes(conn: Connection, now: float) -> None:
    """Remove the minutes that are too old."""
    conn.execute(delete(run_minutes).where(run_minutes.c.minute < int(now // 60) - KEPT_MINUTES))


def standing(conn: Connection, now: float) -> Standing:
    """How everything stands."""
    copied = {row.name: row for row in conn.execute(select(totals))}
    return Standing(
        runs=_by(conn, runs.c.status, RunStatus),
        items={name: copied[name].items if name in copied else 0 for name in COUNTERS},
        bytes={name: copied[name].bytes if name in copied else 0 for name in COUNTERS},
        agents=_agents(conn, now),
        leases=_live(conn, partitions.c.expires_at, now, partitions.c.expires_at > 0),
        grants=_live(conn, grants.c.expires_at, now),
        credentials=_by(conn, run_credentials.c.state, CREDENTIAL_STATES),
        waiting=_number(conn, select(func.count()).select_from(waiters).where(waiters.c.until_at > now)),
        audit_head=_number(conn, select(func.max(audit.c.seq))),
        audit_signed=_number(conn, select(func.max(audit_checkpoints.c.seq))),
    )


def _by(conn: Connection, column: ColumnElement[str], known: Iterable[str]) -> dict[str, int]:
    """Rows by a state, those of it that have none counted too."""
    names = [str(one) for one in known]
    query = select(column, func.count()).where(column.in_(names)).group_by(column)
    found = {str(state): int(number) for state, number in conn.execute(query)}
    return {name: found.get(name, 0) for name in names}


def _live(
    conn: Connection, until: ColumnElement[float], now: float, *where: ColumnElement[bool]
) -> dict[str, int]:
    late = case((until < now, "overdue"), else_="live")
    found = {str(state): int(number) for state, number in conn.execute(
        select(late, func.count()).where(*where).group_by(late)
    )}  # fmt: skip
    return {"live": found.get("live", 0), "overdue": found.get("overdue", 0)}


def _agents(conn: Connection, now: float) -> dict[str, int]:
    busy = set(conn.execute(select(partitions.c.holder).where(partitions.c.expires_at >= now)).scalars())
    rows = conn.execute(
        select(agent_presence.c.oid, agent_presence.c.offline_at, agent_trust.c.locked_at)
        .join(principals, principals.c.oid == agent_presence.c.oid)
        .outerjoin(agent_trust, agent_trust.c.oid == agent_presence.c.oid)
        .where(principals.c.deleted_at.is_(None))
    )
    found: Counter[str] = Counter()
    for row in rows:
        if row.locked_at is not None:
            found["Locked"] += 1
        elif now > row.offline_at:
            found["Offline"] += 1
        else:
            found["Executing" if row.oid in busy else "Online"] += 1
    return {state: found[state] for state in AGENT_STATES}


def _number(conn: Connection, query: Select[int]) -> int:
    return int(conn.execute(query).scalar() or 0)
