"""A run as the services that move it along see it: one row of `runs` and its row of `run_work`.

`load` locks the run until the transaction ends, so that two changes of one run never overlap (PostgreSQL; on SQLite all
writes queue anyway).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, select, update

from wherry.control.db.tables_ledger import run_work
from wherry.control.db.tables_runs import runs
from wherry.model.options import CopyMode, JobOptions
from wherry.model.outcomes import Counters
from wherry.model.run import STOPPING, TERMINAL, RunStatus
from wherry.model.wire import Place, RunOrder

ACTIVE = tuple(str(one) for one in RunStatus if one not in TERMINAL)
LEASABLE = (str(RunStatus.QUEUED), str(RunStatus.STARTED), str(RunStatus.RUNNING))


@dataclass(frozen=True, slots=True)
class RunState:
    """What decides about a run.  `agents` is the key of the agent or of the group that may work on it."""

    id: str
    name: str
    resource_id: str
    job_key: str
    mover_key: str
    agents: str
    grouped: bool
    status: RunStatus
    scan_status: str
    options: JobOptions
    source: Place
    target: Place
    scope: str
    opening: dict[str, Any] | None
    counters: Counters
    created_at: float
    started_at: float | None
    ended_at: float | None
    progressed_at: float
    not_before_at: float
    since: int | None
    boot: str | None
    target_seen: str | None
    noted: str | None
    put_off: str

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def stopping(self) -> bool:
        return self.status in STOPPING

    @property
    def mirror(self) -> bool:
        return self.options.mode is CopyMode.MIRROR

    @property
    def order(self) -> RunOrder:
        """What an agent is told of the run."""
        return RunOrder(self.id, self.source, self.target, self.options)


def query() -> Select[Any]:
    """Rows that `of_row` takes."""
    columns = [column for column in run_work.c if column.name != "run"]
    return select(runs, *columns).join(run_work, run_work.c.run == runs.c.id)


def load(conn: Connection, run: str) -> RunState | None:
    """The run with this GUID; None when there is none.  Writers take turns, so it stays as it is for them."""
    row = conn.execute(query().where(runs.c.id == run)).first()
    return None if row is None else of_row(row)


def of_row(row: Row[Any]) -> RunState:
    """The state in a row of `query`."""
    return RunState(
        id=row.id, name=row.name, resource_id=row.resource_id, job_key=row.job_key, mover_key=row.mover_key,
        agents=row.group_key or row.agent_key or "", grouped=row.group_key is not None,
        status=RunStatus(row.status), scan_status=row.scan_status, options=JobOptions.from_json(row.options),
        source=Place.from_json(row.source), target=Place.from_json(row.target), scope=row.scope,
        opening=row.opening, counters=Counters.from_json(row.counters), created_at=row.created_at,
        started_at=row.started_at, ended_at=row.ended_at, progressed_at=row.progressed_at,
        not_before_at=row.not_before_at, since=row.since, boot=row.boot,
        target_seen=row.target_seen, noted=row.noted, put_off=row.put_off,
    )  # fmt: skip


def change(conn: Connection, run: str, now: float, **columns: Any) -> None:
    """Change what the resource API shows of a run."""
    conn.execute(update(runs).where(runs.c.id == run).values(updated_at=now, **columns))


def change_work(conn: Connection, run: str, **columns: Any) -> None:
    """Change what only the service knows of a run."""
    conn.execute(update(run_work).where(run_work.c.run == run).values(**columns))
