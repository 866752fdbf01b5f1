"""The one way in which a run ends, however it ends: state, counters, and everything it held given back.

In one transaction: the ledger is closed, claims and work items go, grants that no other run uses are removed, the
credential is marked for withdrawal.  The withdrawal itself is a call over the network: `broker.credentials` does it
right after, and again until it is acknowledged.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete

from wherry.control import wakeups
from wherry.control.db.tables_ledger import claims
from wherry.control.services import consents, credentials, grants, partition_rows, run_log, run_state
from wherry.control.services.run_state import RunState
from wherry.model.run import End, RunStatus, ScanStatus

CANCELED = End(RunStatus.CANCELED, "AZSM1045", "The run was stopped.")

_LEVELS: dict[RunStatus, run_log.Level] = {
    RunStatus.SUCCEEDED: "Informational",
    RunStatus.CANCELED: "Warning",
    RunStatus.FAILED: "Error",
}


def finish(conn: Connection, run: RunState, end: End, now: float) -> None:
    """End a run; nothing happens when it has ended already."""
    if run.ended:
        return
    columns = {"status": str(end.status), "ended_at": now}
    if end.status is RunStatus.FAILED:
        columns |= {"error_code": end.code, "error_message": end.message}
    if end.status is RunStatus.SUCCEEDED:
        columns["scan_status"] = str(ScanStatus.COMPLETED)
    run_state.change(conn, run.id, now, **columns)
    _tell(conn, run, end, now)
    let_go(conn, run.id, now)
    wakeups.stir(conn)


def let_go(conn: Connection, run: str, now: float) -> None:
    """Give back all that an ended run held; repeated at start-up for runs that are gone."""
    partition_rows.close_all(conn, run)
    partition_rows.forget_items(conn, run)
    conn.execute(delete(claims).where(claims.c.run == run))
    grants.end_run(conn, run, now)
    consents.end_run(conn, run, now)
    credentials.begin_withdrawal(conn, run)


def _tell(conn: Connection, run: RunState, end: End, now: float) -> None:
    if end.warning:
        run_log.warn(conn, run.id, "AZSM0000", end.warning, now)
    message = end.message or "Succeeded."
    run_log.tell(conn, run.id, message, now, level=_LEVELS[end.status], code=end.code)
