"""What an agent held when its identity ends: leases are taken away, runs that only it could do are over.

Called in the transaction that ends the identity, so that nothing waits for a time to run out.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, select

from wherry.control import wakeups
from wherry.control.db.tables_ledger import partitions, run_work
from wherry.control.db.tables_runs import runs
from wherry.control.services import credentials, grants, partition_rows, phases, run_end, run_state
from wherry.model import ledger
from wherry.model import run as life


def give_back(conn: Connection, oid: str, now: float) -> None:
    """Take leases, grants and credentials of an identity away; others of its group go on with credentials of their own.

    Agents of a run share its credential: where one knew it, it goes, and whoever works there takes a new lease.
    """
    held = (partitions.c.holder == oid) & (partitions.c.expires_at > 0)
    touched = set(conn.execute(select(partitions.c.run).where(held)).scalars())
    _release(conn, held, lost=True)
    for run in touched | set(grants.runs_of(conn, oid)):
        grants.let_go(conn, run, oid, now)
        if credentials.begin_withdrawal(conn, run):
            _release(conn, (partitions.c.run == run) & (partitions.c.expires_at > 0), lost=False)
        phases.settle(conn, run, now)
    wakeups.stir(conn)


def _release(conn: Connection, which: ColumnElement[bool], *, lost: bool) -> None:
    for row in conn.execute(select(partitions.c.run, partitions.c.id).where(which)).all():
        partition = partition_rows.load(conn, row.run, row.id)
        if partition is not None:
            partition_rows.save(conn, ledger.release(partition, lost=lost))


def end_runs(conn: Connection, agent_key: str, now: float, why: str = "It was unregistered.") -> None:
    """End the runs that were this agent's alone."""
    alone = run_state.query().where(
        runs.c.agent_key == agent_key, run_work.c.group_key.is_(None), runs.c.status.in_(run_state.ACTIVE)
    )
    for row in conn.execute(alone).all():
        run = run_state.of_row(row)
        end = run_end.CANCELED if run.stopping else life.failed("AZSM1041", why)
        run_end.finish(conn, run, end, now)
