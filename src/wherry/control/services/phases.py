"""From one phase of a run to the next, and from the last one to its end.

`settle` is called whenever something may have been the last: a commit that finished a partition, a lease given back or
lost.  It does nothing while work is open, so calling it once too often is harmless.
"""

from __future__ import annotations

from sqlalchemy import Connection

from wherry.control import wakeups
from wherry.control.services import partition_rows, run_end, run_log, run_state
from wherry.control.services.run_state import RunState
from wherry.model import ledger
from wherry.model import run as life
from wherry.model.errors import CODES
from wherry.model.ledger import Phase
from wherry.model.run import ScanStatus


def settle(conn: Connection, run_id: str, now: float) -> None:
    """Let a run go on: end it when it is stopping and nobody works on it, or cut the next phase when one is over."""
    run = run_state.load(conn, run_id)
    if run is None or run.ended:
        return
    if run.stopping:
        if not partition_rows.live(conn, run.id, now):
            run_end.finish(conn, run, run_end.CANCELED, now)
        return
    if partition_rows.any_open(conn, run.id):
        return
    if run.scan_status != ScanStatus.COMPLETED:
        run_state.change(conn, run.id, now, scan_status=str(ScanStatus.COMPLETED))
    if not _advance(conn, run, now):
        run = run_state.load(conn, run_id) or run
        run_end.finish(conn, run, life.end(run.counters, run.noted), now)


def _advance(conn: Connection, run: RunState, now: float) -> bool:
    """Cut the items of the next phase that has any into partitions; False when none is left."""
    late = bool(partition_rows.count_items(conn, run.id, Phase.LATE))
    for phase in ledger.phases_to_come(late=late):
        waiting = partition_rows.count_items(conn, run.id, phase)
        if not waiting or (phase is Phase.DELETE and not _may_delete(conn, run, waiting, now)):
            continue
        parts = ledger.cut(phase, partition_rows.keys(conn, run.id, phase))
        made = partition_rows.add(conn, run.id, parts)
        if phase is Phase.LATE:
            # Their spans are walked anew: the items have served.
            partition_rows.drop_items(conn, run.id, phase)
        noun = "item" if waiting == 1 else "items"
        run_log.tell(conn, run.id, f"Phase {phase.name.lower()}: {waiting} {noun} in {made} parts.", now)
        wakeups.stir(conn)
        return True
    return False


def _may_delete(conn: Connection, run: RunState, candidates: int, now: float) -> bool:
    """Ask the gate, once for all that would be deleted; a refusal is noted and drops the candidates."""
    deleted = run.counters.items.get("Deleted", 0)
    refused = life.delete_gate(run.counters, candidates + deleted, run.options)
    if refused is None:
        return True
    dropped = partition_rows.drop_items(conn, run.id, Phase.DELETE)
    run_state.change_work(conn, run.id, noted=refused)
    text = f"{CODES[refused].message} {dropped} items that would be deleted are left as they are."
    run_log.tell(conn, run.id, text, now, level="Error", code=refused)
    return False
