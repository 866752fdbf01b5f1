"""Access of runs that go on although its ground is gone: nobody at work, or a right that was taken away.

An agent that falls silent keeps neither its role nor a credential while it is waited for: both are made anew when work
goes on.  A run whose agent may not enter the target any more ends, whatever took the right away: an assignment that
somebody removed or changed, an identity that was disabled, a consent whose author lost the right to give it.

Called by the reaper, after grants were prolonged, and by `restore`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from wherry.control.db.tables_directory import memberships
from wherry.control.db.tables_identity import principals, role_assignments
from wherry.control.db.tables_ledger import grants as grants_table
from wherry.control.db.tables_ledger import partitions, run_work
from wherry.control.db.tables_runs import runs
from wherry.control.services import (
    credentials,
    grants,
    partition_rows,
    run_end,
    run_log,
    run_state,
    surrender,
)
from wherry.control.services.run_state import RunState
from wherry.model import run as life


@dataclass(slots=True)
class Watch:
    """When a process last asked of all runs, and what rights there were: asking costs, and rounds are many."""

    seen: tuple[object, ...] = ()
    asked_at: float = -math.inf

    def is_due(self, rights: tuple[object, ...], now: float, seconds: float) -> bool:
        """Whether to ask again: a right has changed, or the time has come; notes that it is asked."""
        if rights == self.seen and 0 <= now - self.asked_at < seconds:
            return False
        self.seen, self.asked_at = rights, now
        return True


def rights(conn: Connection) -> tuple[object, ...]:
    """Another value when an assignment, an identity or a membership has changed, or one that we made is gone."""
    assigned = select(func.count(), func.max(role_assignments.c.updated_at)).select_from(role_assignments)
    alive = select(func.count()).where(principals.c.enabled, principals.c.deleted_at.is_(None))
    members = select(func.count()).select_from(memberships)
    lost = select(func.count()).where(grants_table.c.assignment.not_in(select(role_assignments.c.name)))
    return (
        *conn.execute(assigned).one(),
        *(conn.execute(one).scalar() for one in (alive, members, lost)),
    )


def found(conn: Connection, now: float, idle_seconds: float) -> list[str]:
    """Runs that `settle` would change something of."""
    going = conn.execute(run_state.query().where(runs.c.status.in_(run_state.ACTIVE)))
    states = [run_state.of_row(row) for row in going]
    return [one.id for one in states if _idle(conn, one, now, idle_seconds) or _shut_out(conn, one, now)]


def settle(conn: Connection, run_id: str, now: float, idle_seconds: float) -> None:
    """End a run whose agent may not enter its target any more; take back what nobody at work needs."""
    run = run_state.load(conn, run_id)
    if run is None or run.ended:
        return
    gone = _shut_out(conn, run, now)
    for oid in gone:
        if run.grouped and not _alive(conn, oid):
            surrender.give_back(conn, oid, now)
        else:
            detail = "The right of its agent there was taken away."
            run_end.finish(conn, run, life.failed("AZSM1024", detail), now)
            return
    if _idle(conn, run, now, idle_seconds):
        _take_back(conn, run, now)


def take_all_back(conn: Connection, now: float) -> int:
    """Take back the access of all runs that go on, whoever is at work; how many had any."""
    count = 0
    for row in conn.execute(run_state.query().where(runs.c.status.in_(run_state.ACTIVE))).all():
        run = run_state.of_row(row)
        known = credentials.of_run(conn, run.id)
        if grants.users_of(conn, run.id) or (known is not None and known.state in credentials.STANDING):
            _take_back(conn, run, now)
            count += 1
    return count


def _take_back(conn: Connection, run: RunState, now: float) -> None:
    for oid in grants.users_of(conn, run.id):
        grants.let_go(conn, run.id, oid, now)
    credentials.begin_withdrawal(conn, run.id)
    text = "Nobody works on the run: its access to the target is taken back until somebody does."
    run_log.tell(conn, run.id, text, now, level="Warning", code="AZSM1023")


def _shut_out(conn: Connection, run: RunState, now: float) -> list[str]:
    """Those at work on a run, or let in for it, who may not do there what it does."""
    if run.stopping:
        return []
    at_work = select(partitions.c.holder).where(partitions.c.run == run.id, partitions.c.expires_at >= now)
    oids = set(conn.execute(at_work.distinct()).scalars()) | grants.users_of(conn, run.id)
    role = grants.role_for(run.mirror)
    return sorted(oid for oid in oids if not grants.holds(conn, oid, role, run.scope, now))


def _alive(conn: Connection, oid: str) -> bool:
    living = select(principals.c.oid).where(
        principals.c.oid == oid, principals.c.enabled, principals.c.deleted_at.is_(None)
    )
    return conn.execute(living).first() is not None


def _idle(conn: Connection, run: RunState, now: float, seconds: float) -> bool:
    used = grants.last_use(conn, run.id)
    known = credentials.of_run(conn, run.id)
    stands = known is not None and known.state in credentials.STANDING
    if (used is None and not stands) or partition_rows.live(conn, run.id, now):
        return False
    served = select(run_work.c.served_at).where(run_work.c.run == run.id)
    lately = max(used or 0.0, run.progressed_at, conn.execute(served).scalar() or 0.0)
    return lately + seconds < now
