"""What an agent held when its identity ends: leases are taken away, runs that only it could do are over.

Called in the transaction that ends the identity, so that nothing waits for a time to run out.
"""

from __future__ import annotations

from sqlalchemy import Connection

from wherry.control import wakeups
from wherry.control.db.tables_ledger import partitions, run_work
from wherry.control.db.tables_runs import runs
from wherry.control.services import partition_rows, phases, run_end, run_state
from wherry.model import ledger
from wherry.model import run as life


def give_back(conn: Connection, oid: str, now: float) -> None:
    """Take all leases of an identity away; others of its group go on at once."""
    rows = conn.execute(
        partitions.select().where(partitions.c.holder == oid, partitions.c.expires_at > 0)
    ).all()
    for row in rows:
        partition = partition_rows.load(conn, row.run, row.id)
        if partition is not None:
            partition_rows.save(conn, ledger.release(partition, lost=True))
            phases.settle(conn, row.run, now)
    if rows:
        wakeups.stir(conn)


def end_runs(conn: Connection, agent_key: str, now: float) -> None:
    """End the runs that were this agent's alone."""
    alone = run_state.query().where(
        runs.c.agent_key == agent_key, run_work.c.group_key.is_(None), runs.c.status.in_(run_state.ACTIVE)
    )
    for row in conn.execute(alone).all():
        run = run_state.of_row(row)
        end = run_end.CANCELED if run.stopping else life.failed("AZSM1041", "It was unregistered.")
        run_end.finish(conn, run, end, now)
