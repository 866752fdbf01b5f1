"""Starting and stopping jobs.

A start is one transaction: who works, from where to where, whether somebody else writes there, and whether whoever asks
may let the agent in at the exact target.  What the run needs later is frozen into it: the job and its endpoints may
change or vanish while it goes on.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert

from wherry.control import authorization, wakeups
from wherry.control.caller import Caller
from wherry.control.db.tables_ledger import run_work
from wherry.control.db.tables_runs import runs as runs_table
from wherry.control.services import (
    claims,
    consents,
    grants,
    partition_rows,
    phases,
    presence,
    resource_store,
    run_end,
    run_log,
    run_sides,
    run_state,
    run_view,
)
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.run_sides import Side
from wherry.model import ids
from wherry.model import run as life
from wherry.model.agent_versions import REQUIRED, SERVED
from wherry.model.errors import ApiError, RunError, UsageError
from wherry.model.ledger import Part, Phase, Span
from wherry.model.options import JobOptions, Preserve
from wherry.model.outcomes import iso_time
from wherry.model.run import Event, RunStatus, ScanStatus
from wherry.model.wire import Place
from wherry.trust.roles import Role

JOB = "microsoft.storagemover/storagemovers/projects/jobdefinitions"
START = "Microsoft.StorageMover/storageMovers/projects/jobDefinitions/startJob/action"
"""The action of a role that lets somebody start a job."""

BESIDE_OPTIONS = ("agentGroup", "timeZone", "onOverlap")
"""What `properties.wherry` of a job holds besides the options of its runs."""

_WITHOUT_PERMISSIONS = (Preserve.TIMES, Preserve.XATTRS)


@dataclass(frozen=True, slots=True)
class Workers:
    """Who may work on a run: the key and the name of an agent or of a group, and the identities there are."""

    key: str
    name: str
    grouped: bool
    members: tuple[str, ...]
    oids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Undertaking:
    """What a start of a job comes to: who works, from where to where, in which role at the target."""

    job: Resource
    workers: Workers
    source: Side
    target: Side

    @property
    def role(self) -> Role:
        return grants.role_for(self.job.properties["copyMode"] == "Mirror")


def start(conn: Connection, caller: Caller, job_key: str, due: float | None = None) -> str:
    """Start a run of a job; answers the id of the run.  `due`: by its schedule, in the name of who enabled that.

    409 `JobAlreadyRunning` or with the `AZSM` code of what is in the way, 400 for a job that cannot run as it is, 403
    when the caller may not let the agent into the target.
    """
    job = _job(conn, job_key)
    going = run_view.active_run(conn, job_key=job.key)
    if going is not None:
        raise ApiError(
            409, "JobAlreadyRunning", f"The job run '{going}' has not ended. Stop it, or wait for its end."
        )
    found = survey(conn, job.key)
    _refuse_containment(found.source.place, found.target.place)
    run = str(uuid.uuid4())
    resource_id = _write(conn, caller, run, found, due)
    _claim(conn, run, found.target.place, found.workers)
    _consent(conn, caller, run, found, scheduled=due is not None)
    partition_rows.add(conn, run, [Part(Phase.COPY, Span())])
    _tell_start(conn, caller, run, due)
    _tell_of_old(conn, run, found.workers, caller.now)
    wakeups.stir(conn)
    return resource_id


def fail(conn: Connection, caller: Caller, job_key: str, due: float, trouble: RunError) -> str:
    """A run that its schedule could not start, as one that has failed; answers its id.

    Raises `ApiError` where the job does not even say what it would do.
    """
    run = str(uuid.uuid4())
    resource_id = _write(conn, caller, run, survey(conn, job_key), due)
    _tell_start(conn, caller, run, due)
    state = run_state.load(conn, run)
    if state is not None:
        run_end.finish(conn, state, life.failed(trouble.code, trouble.detail), caller.now)
    return resource_id


def _tell_of_old(conn: Connection, run: str, workers: Workers, now: float) -> None:
    """Say why nobody takes the run up, where each agent that could has to be upgraded first."""
    notices = [SERVED.notice(presence.version_of(conn, oid)) for oid in workers.oids]
    required = [one for one in notices if one is not None and one.required]
    if required and len(required) == len(notices):
        run_log.warn(conn, run, REQUIRED, f"The run waits for an agent. {required[0].message}", now)


def survey(conn: Connection, job_key: str) -> Undertaking:
    """What the job says as things are now; nothing is changed."""
    job = _job(conn, job_key)
    mover = job.id.partition("/projects/")[0]
    workers = _workers(conn, job, mover)
    sides = [run_sides.side(conn, job, mover, which) for which in ("source", "target")]
    return Undertaking(job, workers, *sides)


def stop(conn: Connection, caller: Caller, job_key: str) -> str:
    """Stop the run of a job; answers the id of the run.  409 `JobNotRunning` when none is going; twice is as once."""
    job = _job(conn, job_key)
    going = run_view.active_run(conn, job_key=job.key)
    found = run_view.get_run(conn, going) if going else None
    run = run_state.load(conn, found.id) if found else None
    if run is None or run.ended:
        raise ApiError(409, "JobNotRunning", f"No run of the job definition '{job.name}' is going on.")
    if run.stopping:
        return run.resource_id
    run_log.tell(conn, run.id, f"{caller.name} asked to stop.", caller.now, level="Warning", code="AZSM1045")
    if partition_rows.live(conn, run.id, caller.now):
        run_state.change(conn, run.id, caller.now, status=str(life.move(run.status, Event.STOP)))
    else:
        run_end.finish(conn, run, run_end.CANCELED, caller.now)
    wakeups.stir(conn)
    return run.resource_id


def reconcile(conn: Connection, caller: Caller, job_key: str) -> str:
    """Look at the run of a job anew; answers its id.  409 `JobNotRunning` when none is going."""
    job = _job(conn, job_key)
    going = run_view.active_run(conn, job_key=job.key)
    found = run_view.get_run(conn, going) if going else None
    if found is None:
        raise ApiError(409, "JobNotRunning", f"No run of the job definition '{job.name}' is going on.")
    run_state.change_work(conn, found.id, not_before_at=0.0)
    phases.settle(conn, found.id, caller.now)
    run_log.tell(conn, found.id, f"{caller.name} asked to look at the run anew.", caller.now)
    wakeups.stir(conn)
    return str(found.resource_id)


def refusal(trouble: RunError) -> ApiError:
    """A code of the error table as an answer of the API."""
    return ApiError(409, trouble.code, f"{trouble} {trouble.remedy}")


def _job(conn: Connection, job_key: str) -> Resource:
    job = resource_store.find(conn, job_key, JOB)
    if job is None:
        raise ApiError(404, "ResourceNotFound", f"The job definition '{job_key}' was not found.")
    return job


def _workers(conn: Connection, job: Resource, mover: str) -> Workers:
    group = (job.properties.get("wherry") or {}).get("agentGroup")
    name = group or job.properties.get("agentName")
    if not name:
        raise ApiError(
            400,
            "AgentRequired",
            f"The job definition '{job.name}' names no agent: set agentName, or wherry.agentGroup.",
            "properties.agentName",
        )
    key = ids.key(f"{mover}/{'agentGroups' if group else 'agents'}/{name}")
    if resource_store.find(conn, key) is None:
        what = "agent group" if group else "agent"
        raise ApiError(
            400, "AgentNotFound", f"There is no {what} '{name}' in this mover.", "properties.agentName"
        )
    members = presence.members(conn, key, bool(group))
    oids = tuple(oid for member in members if (oid := presence.oid_of(conn, member)) is not None)
    if not oids:
        who = f"No agent of the group '{name}' is" if group else f"The agent '{name}' is not"
        raise ApiError(
            409, "AgentNotRegistered", f"{who} registered: register it on its machine, then start again."
        )
    return Workers(key, str(name), bool(group), tuple(members), oids)


def _refuse_containment(source: Place, target: Place) -> None:
    if source.kind != target.kind:
        return
    same_store = source.kind == claims.LOCAL or source.location.lower() == target.location.lower()
    if same_store and claims.overlap(claims.path_of(source), claims.path_of(target)):
        raise refusal(RunError("AZSM1033"))


def _claim(conn: Connection, run: str, target: Place, workers: Workers) -> None:
    try:
        claims.make(conn, run, target, workers.members)
    except RunError as busy:
        raise refusal(busy) from busy


def _tell_start(conn: Connection, caller: Caller, run: str, due: float | None) -> None:
    how = "" if due is None else f" by the schedule, which was due at {iso_time(due)}"
    run_log.tell(conn, run, f"Started by {caller.name}{how}.", caller.now)


def needs_consent(conn: Connection, found: Undertaking, now: float) -> bool:
    """Whether somebody has to let the agents into the target: not when all of them may enter already."""
    role, scope = found.role, found.target.scope
    return not all(grants.suffices_without_us(conn, oid, role, scope, now) for oid in found.workers.oids)


def _consent(conn: Connection, caller: Caller, run: str, found: Undertaking, *, scheduled: bool) -> None:
    """Write down who lets the agents into the target; nothing when nobody has to.

    That is the caller, or who has consented beforehand to all runs of the job or to those of its schedule.
    """
    role, scope = found.role, found.target.scope
    if not needs_consent(conn, found, caller.now):
        return
    basis = None
    if (
        scheduled
        or not authorization.decide(conn, caller.principal, consents.ASSIGN, scope, caller.now).allowed
    ):
        basis = consents.find_standing(
            conn, found.job.key, scope, role.guid, found.workers.key, caller.now, scheduled=scheduled
        )
        if basis is None and scheduled:
            raise refusal(RunError("AZSM1024", "The consent to the schedule has ended: enable it again."))
        if basis is None:
            caller.authorize(conn, consents.ASSIGN, scope)
    consents.record(
        conn, run=run, job_key=found.job.key, scope=scope, role=role.guid, agents=found.workers.key,
        author=caller.principal.oid if basis is None else basis.author, now=caller.now,
        standing=None if basis is None else basis.id,
    )  # fmt: skip


def _options(job: Resource, now: float) -> JobOptions:
    told: Json = dict(job.properties.get("wherry") or {})
    for name in BESIDE_OPTIONS:
        told.pop(name, None)
    told["mode"] = job.properties["copyMode"]
    if job.properties.get("preservePermissions") is False:
        told.setdefault("preserve", list(_WITHOUT_PERMISSIONS))
    if job.properties.get("dataIntegrityValidation") == "SaveVerifyFileMD5":
        told.setdefault("verify", "readback")
    try:
        return JobOptions.from_json(told).at(int(now * 10**9))
    except UsageError as refused:
        raise ApiError(400, "InvalidProperty", str(refused), "properties.wherry") from refused


def _write(conn: Connection, caller: Caller, run: str, found: Undertaking, due: float | None) -> str:
    job, workers, source, target = found.job, found.workers, found.source, found.target
    resource_id = f"{job.id}/jobRuns/{run}"
    values: Mapping[str, Any] = {
        "id": run, "key": ids.key(resource_id), "resource_id": resource_id, "job_key": job.key, "name": run,
        "mover_key": ids.key(job.id.partition("/projects/")[0]),
        "agent_name": None if workers.grouped else workers.name,
        "agent_key": None if workers.grouped else workers.key,
        "status": str(RunStatus.QUEUED), "scan_status": str(ScanStatus.NOT_STARTED),
        "trigger": "Manual" if due is None else "Scheduled", "scheduled_at": due,
        "options": _options(job, caller.now).to_json(),
        "source": source.place.to_json(), "target": target.place.to_json(),
        "source_name": source.endpoint.name, "target_name": target.endpoint.name,
        "source_id": source.endpoint.id, "target_id": target.endpoint.id,
        "job_properties": job.properties | job.state | {"latestJobRunName": run, "latestJobRunResourceId": resource_id},
        "source_properties": source.endpoint.properties, "target_properties": target.endpoint.properties,
        "created_at": caller.now, "created_by": caller.name, "created_by_type": caller.kind,
        "updated_at": caller.now, "counters": {}, "warnings": [],
    }  # fmt: skip
    conn.execute(insert(runs_table).values(values))
    conn.execute(
        insert(run_work).values(
            run=run, group_key=workers.key if workers.grouped else None, scope=target.scope,
            opening=None if target.opening is None else target.opening.to_json(), progressed_at=caller.now,
        )
    )  # fmt: skip
    return resource_id
