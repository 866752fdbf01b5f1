"""What agents found at both places of a run: whether they are what they were, and when the run began there.

Called by the agent protocol at the start and the end of every lease.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from wherry.control.db.tables_ledger import source_identities
from wherry.control.services import ledger, run_end, run_log, run_state
from wherry.control.services.ledger import Holder
from wherry.control.services.run_state import RunState
from wherry.model import run as life
from wherry.model.errors import RunError
from wherry.model.ledger import Token
from wherry.model.wire import Sighting


def sight(
    conn: Connection, holder: Holder, run_id: str, token: Token, seen: Sighting, now: float
) -> tuple[int, bool, RunError | None]:
    """Take a sighting: the run's start on the target's clock (ns), whether the machine of a local target was
    started anew since, and the code that has ended the run because of it.
    """
    run, _ = ledger.held(conn, holder, run_id, token, now)
    trouble = _trouble(conn, run, seen, now)
    if trouble is not None:
        run_end.finish(conn, run, life.failed(trouble.code, trouble.detail), now)
        return 0, False, trouble
    restarted = bool(run.boot) and run.boot != seen.boot
    if run.since is None:
        run_state.change_work(conn, run.id, since=seen.clock, boot=seen.boot, target_seen=seen.target)
    elif restarted:
        text = "Another machine goes on, or one that was started anew: work that was not committed is done again."
        run_log.tell_once(conn, run.id, text, now)
    return (seen.clock if run.since is None else run.since), restarted, None


def _trouble(conn: Connection, run: RunState, seen: Sighting, now: float) -> RunError | None:
    if seen.source == seen.target:
        return RunError("AZSM1033")
    if run.target_seen not in (None, seen.target):
        return RunError("AZSM1036")
    known = conn.execute(
        select(source_identities.c.identity, source_identities.c.run).where(
            source_identities.c.job_key == run.job_key
        )
    ).first()
    if known is not None and known.identity == seen.source:
        return None
    if known is not None and not (run.options.accept_new_source and known.run != run.id):
        return RunError("AZSM1005")
    if known is not None:
        run_log.tell(conn, run.id, "A new source is accepted, as the job says.", now, level="Warning")
    conn.execute(delete(source_identities).where(source_identities.c.job_key == run.job_key))
    conn.execute(
        insert(source_identities).values(job_key=run.job_key, identity=seen.source, run=run.id, seen_at=now)
    )
    return None
