"""What happens when a schedule is due: a run in the name of who enabled it, or a reason why there is none.

A firing is claimed by its row, one for each job and moment, in the transaction that does what it asks for; so it
happens once, however many replicas look.  A moment that was missed, while the service was away or the clock was wrong,
is made good once, late; what came between is passed over.  A clock that was put back finds its moments claimed.  Called
by the duty in `control.scheduler`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from wherry.control import audit, authorization
from wherry.control.caller import Caller
from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_runs import runs as runs_table
from wherry.control.db.tables_schedules import firings, schedules
from wherry.control.services import consents, resource_store, run_state, run_view, runs
from wherry.control.services import schedules as schedule_rows
from wherry.control.services.resource_store import Resource
from wherry.control.services.types import mover_values
from wherry.model.errors import CODES, ApiError, RunError
from wherry.model.outcomes import iso_time
from wherry.model.schedules import Overlap, Schedule
from wherry.trust.principals import FULL_SCOPE, Principal

_PUT_BACK_SECONDS = 60.0
_KEPT = 1000


class Outcome(StrEnum):
    """What became of a firing."""

    STARTED = "Started"
    WAITING = "Waiting"
    SKIPPED = "Skipped"
    FAILED = "Failed"


def due(conn: Connection, now: float) -> list[str]:
    """The keys of jobs whose schedules are due, the longest due first."""
    query = select(schedules.c.job_key).where(schedules.c.next_at <= now).order_by(schedules.c.next_at)
    return list(conn.execute(query).scalars())


def waiting(conn: Connection) -> list[str]:
    """The keys of jobs whose schedules waited for a run that has ended."""
    going = select(runs_table.c.job_key).where(runs_table.c.status.in_(run_state.ACTIVE))
    query = select(schedules.c.job_key).where(
        schedules.c.waiting_for.is_not(None), schedules.c.job_key.not_in(going)
    )
    return list(conn.execute(query).scalars())


def put_back(conn: Connection, now: float) -> list[str]:
    """The keys of jobs whose schedules were reckoned by a clock that has been put back since."""
    query = select(schedules.c.job_key).where(schedules.c.reckoned_at > now + _PUT_BACK_SECONDS)
    return list(conn.execute(query).scalars())


def next_due(conn: Connection) -> float | None:
    """When any schedule is due next."""
    found = select(schedules.c.next_at).where(schedules.c.next_at.is_not(None))
    return conn.execute(found.order_by(schedules.c.next_at).limit(1)).scalar()


def reckon_anew(conn: Connection, job_key: str, now: float) -> None:
    """Work out what is due next by a clock that was put back."""
    found = _schedule(conn, job_key)
    if found is not None:
        schedule_rows.reckon(conn, job_key, found[1], now, now)


def fire(conn: Connection, job_key: str, now: float) -> None:
    """See to a job whose schedule is due; nothing when somebody else has."""
    row = schedule_rows.of_job(conn, job_key, lock=True)
    found = _schedule(conn, job_key)
    if row is None or found is None or row.next_at is None or row.next_at > now:
        return
    job, schedule = found
    schedule_rows.reckon(conn, job_key, schedule, now, now)
    if not _claim(conn, job_key, row.next_at, now):
        return
    going = run_view.active_run(conn, job_key=job_key)
    if going is None:
        _begin(conn, row, job, row.next_at, now)
    else:
        _overlap(conn, row, job, going, now)
    _end_if_over(conn, job_key, now)


def resume(conn: Connection, job_key: str, now: float) -> None:
    """Start what waited for the end of the run before."""
    row = schedule_rows.of_job(conn, job_key, lock=True)
    found = _schedule(conn, job_key)
    if row is None or found is None or row.waiting_for is None or run_view.active_run(conn, job_key=job_key):
        return
    conn.execute(update(schedules).where(schedules.c.job_key == job_key).values(waiting_for=None))
    _begin(conn, row, found[0], row.waiting_for, now)
    _end_if_over(conn, job_key, now)


def _end_if_over(conn: Connection, job_key: str, now: float) -> None:
    """Nothing rests any more on the consent to a schedule that never comes again."""
    row = schedule_rows.of_job(conn, job_key)
    if row is not None and row.next_at is None and row.waiting_for is None:
        consents.end_schedule(conn, job_key, now)


def _schedule(conn: Connection, job_key: str) -> tuple[Resource, Schedule] | None:
    job = resource_store.find(conn, job_key, runs.JOB)
    schedule = None if job is None else mover_values.schedule(job.properties)
    return None if job is None or schedule is None else (job, schedule)


def _claim(conn: Connection, job_key: str, due_at: float, now: float) -> bool:
    """Whether this firing is ours; the oldest of many are forgotten."""
    mine = (firings.c.job_key == job_key) & (firings.c.due_at == due_at)
    if conn.execute(select(firings.c.at).where(mine)).first() is not None:
        return False
    conn.execute(insert(firings).values(job_key=job_key, due_at=due_at, at=now, outcome=str(Outcome.STARTED)))
    of_job = select(firings.c.at).where(firings.c.job_key == job_key)
    oldest = conn.execute(of_job.order_by(firings.c.at.desc()).offset(_KEPT).limit(1)).scalar()
    if oldest is not None:
        conn.execute(delete(firings).where(firings.c.job_key == job_key, firings.c.at <= oldest))
    return True


def _overlap(conn: Connection, row: Row[Any], job: Resource, going: str, now: float) -> None:
    """The run before goes on: what the job says for that."""
    rule = Overlap(job.properties.get("wherry", {}).get("onOverlap", Overlap.WAIT))
    if rule is Overlap.FAIL:
        _fail(conn, row, job, row.next_at, RunError("AZSM1047", f"That is {going}."), now)
    elif rule is Overlap.WAIT and row.waiting_for is None:
        conn.execute(update(schedules).where(schedules.c.job_key == job.key).values(waiting_for=row.next_at))
        _note(conn, job.key, row.next_at, Outcome.WAITING)
    else:
        _note(conn, job.key, row.next_at, Outcome.SKIPPED, code="AZSM1047", message=f"That is {going}.")


def _begin(conn: Connection, row: Row[Any], job: Resource, due_at: float, now: float) -> None:
    """Start a run; what is in the way becomes a run that has failed."""
    caller = _author(conn, row.author, now)
    may = authorization.decide_for(conn, row.author, runs.START, job.id, now)
    if not may.allowed:
        why = f"Who enabled the schedule may not start the job any more: {may.reason}."
        _fail(conn, row, job, due_at, RunError("AZSM1048", why), now)
        return
    attempt = conn.begin_nested()
    try:
        run = runs.start(conn, caller, job.key, due_at)
    except ApiError as refused:
        attempt.rollback()
        _fail(conn, row, job, due_at, _trouble(refused), now)
        return
    attempt.commit()
    _note(conn, job.key, due_at, Outcome.STARTED, run=run)
    _record(conn, caller, job, due_at, "allowed", run)


def _trouble(refused: ApiError) -> RunError:
    if refused.code in CODES:
        return RunError(refused.code, refused.message.removeprefix(CODES[refused.code].message).strip())
    return RunError("AZSM1048", refused.message)


def _fail(
    conn: Connection, row: Row[Any], job: Resource, due_at: float, trouble: RunError, now: float
) -> None:
    caller = _author(conn, row.author, now)
    attempt = conn.begin_nested()
    try:
        run = runs.fail(conn, caller, job.key, due_at, trouble)
    except ApiError:
        # A job that names nothing that is there has no run to show; the firing itself tells.
        attempt.rollback()
        run = None
    else:
        attempt.commit()
    _note(conn, job.key, due_at, Outcome.FAILED, run=run, code=trouble.code, message=str(trouble))
    _record(conn, caller, job, due_at, "refused", run, str(trouble))


def _note(conn: Connection, job_key: str, due_at: float, outcome: Outcome, **more: str | None) -> None:
    mine = (firings.c.job_key == job_key) & (firings.c.due_at == due_at)
    conn.execute(update(firings).where(mine).values(outcome=str(outcome), **more))


def _author(conn: Connection, oid: str, now: float) -> Caller:
    """Who enabled a schedule, as who starts its runs; what they may is asked for each."""
    row = conn.execute(select(principals.c.kind, principals.c.name).where(principals.c.oid == oid)).one()
    return Caller(Principal(row.kind, oid, "", row.name, frozenset({FULL_SCOPE})), "", now)


def _record(
    conn: Connection, caller: Caller, job: Resource, due_at: float, result: str, run: str | None, why: str = ""
) -> None:  # fmt: skip
    details = {"schedule": iso_time(due_at)} | ({"run": run} if run else {})
    record = audit.of(caller.principal, runs.START, result, scope=job.id, reason=why, details=details)
    audit.append(conn, record, caller.now)
