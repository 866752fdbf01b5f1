"""The run log: rows that tell people what happened to a run, written by the service and by agents."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from wherry.control.db.tables_ledger import agent_spools, run_events
from wherry.control.db.tables_runs import runs
from wherry.model.outcomes import iso_time

Level = Literal["Informational", "Warning", "Error"]
LEVELS: tuple[Level, ...] = ("Informational", "Warning", "Error")

MESSAGE_LIMIT = 4000


def tell(
    conn: Connection, run: str, message: str, now: float, *, level: Level = "Informational", code: str = "",
    source: str = "",
) -> None:  # fmt: skip
    """Put a row at the end of a run's log."""
    conn.execute(
        insert(run_events).values(
            run=run, at=now, level=level, code=code, message=message[:MESSAGE_LIMIT], source=source
        )
    )


def tell_once(conn: Connection, run: str, message: str, now: float) -> None:
    """Put a row at the end of a run's log unless it is in there."""
    same = select(run_events.c.id).where(run_events.c.run == run, run_events.c.message == message).limit(1)
    if conn.execute(same).first() is None:
        tell(conn, run, message, now)


def told_already(conn: Connection, oid: str, spool: str, first: int, count: int) -> int:
    """How many of `count` events of an agent's spool, numbered from `first`, are in run logs already; now all are."""
    last = conn.execute(
        select(agent_spools.c.seq).where(agent_spools.c.oid == oid, agent_spools.c.spool == spool)
    ).scalar()
    told = min(count, max(0, (last or 0) - first + 1))
    if told < count:
        conn.execute(delete(agent_spools).where(agent_spools.c.oid == oid))
        conn.execute(insert(agent_spools).values(oid=oid, spool=spool, seq=first + count - 1))
    return told


def warn(conn: Connection, run: str, code: str, message: str, now: float) -> None:
    """A warning in the log and on the run itself, told once."""
    known = conn.execute(select(runs.c.warnings).where(runs.c.id == run)).scalar_one()
    warning = {"code": code, "message": message}
    if warning not in known:
        tell(conn, run, message, now, level="Warning", code=code)
        conn.execute(update(runs).where(runs.c.id == run).values(warnings=[*known, warning]))


def page(
    conn: Connection, run: str, *, level: Level | None, code: str | None, after: int, limit: int
) -> list[tuple[int, dict[str, Any]]]:
    """Rows from behind number `after`, each with its number; `level` is the lowest that is shown."""
    query = select(run_events).where(run_events.c.run == run, run_events.c.id > after)
    if level is not None:
        query = query.where(run_events.c.level.in_(LEVELS[LEVELS.index(level) :]))
    if code is not None:
        query = query.where(run_events.c.code == code)
    rows = conn.execute(query.order_by(run_events.c.id).limit(limit))
    return [(row.id, _document(row._mapping)) for row in rows]  # noqa: SLF001 - a documented attribute


def level_of(told: str) -> Level | None:
    """The level of that name in any casing."""
    return next((one for one in LEVELS if one.lower() == told.lower()), None)


def _document(row: RowMapping) -> dict[str, Any]:
    shown = {
        "timeGenerated": iso_time(row["at"]),
        "level": row["level"],
        "statusCode": row["code"] or "AZSM0000",
        "message": row["message"],
    }
    return shown | ({"agentName": row["source"]} if row["source"] else {})
