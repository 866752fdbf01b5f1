"""A job with a schedule, on a clock that tests move: what tests of schedules play on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from tests.unit.control.stage import Stage
from wherry.control.caller import Caller
from wherry.control.db.tables_runs import runs as runs_table
from wherry.control.db.tables_schedules import firings as firings_table
from wherry.control.services import (
    firings,
    resource_store,
    resources,
    run_end,
)
from wherry.control.services.resource_store import Resource
from wherry.control.services.types.registry import target
from wherry.model import schedules as model
from wherry.model.run import failed

HOUR = 3600.0
DAY = 24 * HOUR
NOON = {"hour": 12}
DAILY: dict[str, Any] = {"frequency": "Daily", "executionTime": NOON, "isActive": True}


@dataclass
class Scene:
    """A job of an agent; the clock stands at ten o'clock of a day."""

    stage: Stage
    path: str
    properties: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stage.now = model.moment("2027-03-01T10:00:00Z")
        found = resource_store.find(self.stage.conn, self.path)
        assert found is not None
        self.key, self.properties = found.key, dict(found.properties)

    def put(self, caller: Caller | None = None, schedule: Any = DAILY, **properties: Any) -> dict[str, Any]:
        told = self.properties | properties | ({"schedule": schedule} if schedule else {})
        who = caller or self.stage.caller
        caller = self.stage.as_user(who.principal.oid)
        # A request is a transaction: what is refused leaves nothing.
        with self.stage.conn.begin_nested():
            return dict(
                resources.put(self.stage.conn, caller, target(self.path), {"properties": told}).body[
                    "properties"
                ]
            )

    def shown(self) -> Any:
        return resources.get(self.stage.conn, target(self.path)).body["properties"]["wherry"]

    def at(self, text: str) -> None:
        self.stage.now = model.moment(text)

    def look(self) -> None:
        """One round of the duty, as `scheduler.look` makes it."""
        conn, now = self.stage.conn, self.stage.now
        for job in firings.put_back(conn, now):
            firings.reckon_anew(conn, job, now)
        for job in firings.due(conn, now):
            firings.fire(conn, job, now)
        for job in firings.waiting(conn):
            firings.resume(conn, job, now)

    def runs(self) -> list[Any]:
        query = select(runs_table).where(runs_table.c.job_key == self.key)
        return list(self.stage.conn.execute(query.order_by(runs_table.c.created_at, runs_table.c.id)))

    def finish(self) -> None:
        for row in self.runs():
            run_end.finish(self.stage.conn, self.stage.run(row.id), failed("AZSM1060"), self.stage.now)

    def outcomes(self) -> list[tuple[str, str]]:
        rows = self.stage.conn.execute(select(firings_table).order_by(firings_table.c.due_at))
        return [(row.outcome, row.code) for row in rows]

    def next(self) -> str | None:
        found = firings.next_due(self.stage.conn)
        return None if found is None else model.written(found)

    @property
    def job(self) -> Resource:
        found = resource_store.find(self.stage.conn, self.path)
        assert found is not None
        return found
