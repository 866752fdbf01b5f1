"""Starting and stopping: what is refused and why, what is frozen, and that a refusal leaves nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from tests.unit.control.stage import CONTAINER, MOVER, Stage, done
from wherry.control.db.tables_ledger import claims, consents, partitions, run_work
from wherry.control.db.tables_runs import runs as runs_table
from wherry.control.services import consents as consents_service
from wherry.control.services import grants, partition_rows, role_assignments, runs
from wherry.model.errors import ApiError, RunError
from wherry.model.ledger import Phase, WorkItem
from wherry.model.options import CopyMode, Preserve, Verify
from wherry.model.run import RunStatus
from wherry.trust.roles import BLOB_DATA_CONTRIBUTOR, CONTRIBUTOR, JOB_WRITER, USER_ACCESS_ADMINISTRATOR


def refused(stage: Stage, job: str, **more: Any) -> ApiError:
    with pytest.raises(ApiError) as told:
        stage.start(job, **more)
    return told.value


def count(stage: Stage, *tables: Any) -> int:
    return sum(stage.conn.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)


def test_an_unknown_job(stage: Stage) -> None:
    assert refused(stage, f"{MOVER}/projects/p/jobDefinitions/none").status == 404


def test_a_job_needs_an_agent_that_is_registered(stage: Stage) -> None:
    assert refused(stage, stage.job()).code == "AgentRequired"
    machine = f"{MOVER.partition('/providers/')[0]}/providers/Microsoft.HybridCompute/machines/ghost"
    uuid = "00000000-0000-0000-0000-000000000001"
    stage.put(f"{MOVER}/agents/ghost", {"arcResourceId": machine, "arcVmUuid": uuid})
    error = refused(stage, stage.job(agentName="ghost"))
    assert (error.status, error.code) == (409, "AgentNotRegistered")


def test_source_and_target_must_not_contain_one_another(stage: Stage) -> None:
    stage.agent("a")
    for source, into in (("/x", "/x/y"), ("/x/y", "/x"), ("/x", "/x"), ("/", "/y")):
        assert refused(stage, stage.job(source=source, into=into, agentName="a")).code == "AZSM1033"
    stage.start(stage.job(source="/x/y", into="/x/yz", agentName="a"))
    nested = stage.job(source="/z", into="/z", sourceSubpath="in", targetSubpath="out", agentName="a")
    stage.start(nested)


def test_folders_are_claimed_for_each_agent(stage: Stage) -> None:
    stage.agent("a"), stage.agent("b")
    stage.start(stage.job(into="/out/x", agentName="a"))
    assert refused(stage, stage.job(into="/out", agentName="a")).code == "AZSM1027"
    stage.start(stage.job(into="/out", agentName="b"))
    grouped = stage.job(into="/out/x/y", wherry={"agentGroup": stage.group("a", "b")})
    assert refused(stage, grouped).code == "AZSM1027"


def test_who_may_not_assign_roles_at_the_target_starts_nothing(stage: Stage) -> None:
    stage.agent("a")
    job = stage.job(container="photos", agentName="a")
    before = count(stage, runs_table, run_work, partitions, claims, consents)
    with stage.conn.begin_nested() as attempt:
        error = refused(stage, job, caller=stage.as_user(stage.user(CONTRIBUTOR.guid)))
        attempt.rollback()
    assert (error.status, error.code) == (403, "AuthorizationFailed")
    assert "Microsoft.Authorization/roleAssignments/write" in error.message
    assert f"over scope '{CONTAINER}'" in error.message
    assert count(stage, runs_table, run_work, partitions, claims, consents) == before

    there = stage.user(USER_ACCESS_ADMINISTRATOR.guid, CONTAINER)
    run = stage.start(job, stage.as_user(there))
    consent = consents_service.of_run(stage.conn, run)
    assert consent is not None
    assert (consent.author, consent.scope, consent.role) == (there, CONTAINER, JOB_WRITER.guid)


def test_what_an_owner_has_assigned_before_needs_no_consent(stage: Stage) -> None:
    oid = stage.agent("a").oid
    stage.assign(BLOB_DATA_CONTRIBUTOR.guid, oid, CONTAINER)
    job = stage.job(container="photos", agentName="a")
    run = stage.start(job, stage.as_user(stage.user(CONTRIBUTOR.guid)))
    assert consents_service.of_run(stage.conn, run) is None
    stage.admit(run, "a")
    assert len(role_assignments.of_principal(stage.conn, oid)) == 1
    stage.stop(job)
    assert len(role_assignments.of_principal(stage.conn, oid)) == 1


def test_attack_54_a_run_keeps_what_it_was_started_with(stage: Stage) -> None:
    stage.agent("a")
    job = stage.job(
        agentName="a", copyMode="Mirror", dataIntegrityValidation="SaveVerifyFileMD5", wherry={"maxDelete": 7}
    )
    run = stage.start(job)
    row = stage.row(run)
    options = stage.run(run).options
    assert (options.mode, options.verify, options.max_delete) == (CopyMode.MIRROR, Verify.READBACK, 7)
    assert row.source_properties["endpointType"] == "LocalMount"
    assert row.job_properties["latestJobRunName"] == run
    assert row.agent_name == "a"
    assert stage.run(run).status is RunStatus.QUEUED


def test_ages_are_counted_from_the_start_of_each_run(stage: Stage) -> None:
    stage.agent("a")
    job = stage.job(agentName="a", wherry={"newerThan": "7d", "bandwidth": "8Mbps"})

    options = stage.run(stage.start(job)).options

    assert options.newer_than == int(stage.now * 10**9) - 7 * 86400 * 10**9
    assert options.bandwidth == 1_000_000


def test_a_job_may_leave_permissions_as_they_are(stage: Stage) -> None:
    stage.agent("a")
    plain = stage.run(stage.start(stage.job(agentName="a", preservePermissions=False))).options
    assert set(plain.preserve) == {Preserve.TIMES, Preserve.XATTRS}
    told = {"preserve": ["mode", "times"]}
    own = stage.run(stage.start(stage.job(agentName="a", preservePermissions=False, wherry=told))).options
    assert set(own.preserve) == {Preserve.MODE, Preserve.TIMES}


def test_stop_in_every_state(stage: Stage) -> None:
    stage.agent("a")
    job = stage.job(agentName="a")
    queued = stage.start(job)
    stage.stop(job)
    assert stage.run(queued).status is RunStatus.CANCELED
    with pytest.raises(ApiError) as error:
        stage.stop(job)
    assert error.value.code == "JobNotRunning"

    started = stage.start(job)
    grant = stage.lease(started, "a")
    stage.stop(job)
    stage.stop(job)
    assert stage.run(started).status is RunStatus.CANCEL_REQUESTED
    assert stage.commit(grant, "a", 1, log=done(b"x")).stop
    assert stage.run(started).status is RunStatus.CANCELED

    idle = stage.start(job)
    grant = stage.lease(idle, "a")
    stage.now += 61
    stage.stop(job)
    assert stage.run(idle).status is RunStatus.CANCELED
    assert stage.run(idle).ended_at == stage.now


def test_the_end_of_a_run_leaves_no_work(stage: Stage) -> None:
    stage.agent("a")
    job = stage.job(agentName="a")
    run = stage.start(job)
    grant = stage.lease(run, "a")
    later = WorkItem(Phase.LINKS, b"k", b"p")
    stage.commit(grant, "a", 1, grant.work, deferred=(later,))
    runs.stop(stage.conn, stage.caller, job)
    stage.commit(grant, "a", 2, grant.work)
    assert stage.run(run).status is RunStatus.CANCELING
    partition_rows.close_all(stage.conn, run)
    with pytest.raises(RunError):
        stage.commit(grant, "a", 3, None)


def test_consent_of_somebody_who_lost_the_right_gives_nothing(stage: Stage) -> None:
    stage.agent("a")
    owner = stage.user(USER_ACCESS_ADMINISTRATOR.guid)
    run = stage.start(stage.job(agentName="a", container="photos"), stage.as_user(owner))
    role_assignments.remove_of_principal(stage.conn, owner)
    with pytest.raises(RunError) as error:
        stage.admit(run, "a")
    assert error.value.code == "AZSM1024"
    assert not grants.holds(stage.conn, stage.agent("a").oid, JOB_WRITER, CONTAINER, stage.now)
