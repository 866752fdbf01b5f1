"""Grants: made under a consent, shared by runs, ended with the last of them, never touching what others made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.control.stage import CONTAINER, Stage
from wherry.control.services import grants, role_assignments
from wherry.model.errors import RunError
from wherry.trust import policy
from wherry.trust.roles import JOB_MIRROR_WRITER, JOB_WRITER, USER_ACCESS_ADMINISTRATOR


def assigned(stage: Stage, agent: str) -> list[policy.Assignment]:
    return role_assignments.of_principal(stage.conn, stage.agent(agent).oid)


def started(stage: Stage, **properties: Any) -> tuple[str, str]:
    """Job and run into the container, with a place of its own in it."""
    job = stage.job(container="photos", agentName="a", targetSubpath=f"p{stage.now:.0f}", **properties)
    stage.now += 1
    return job, stage.start(job)


def test_a_grant_holds_at_the_container_until_it_expires(stage: Stage) -> None:
    oid = stage.agent("a").oid
    _, run = started(stage)
    assert assigned(stage, "a") == []
    stage.admit(run, "a")
    stage.admit(run, "a")
    (made,) = assigned(stage, "a")
    assert (made.scope, made.role) == (CONTAINER, JOB_WRITER.guid)
    assert grants.holds(stage.conn, oid, JOB_WRITER, CONTAINER, stage.now)
    assert not grants.holds(stage.conn, oid, JOB_MIRROR_WRITER, CONTAINER, stage.now)
    assert not grants.holds(stage.conn, oid, JOB_WRITER, CONTAINER.replace("photos", "other"), stage.now)
    assert not grants.holds(stage.conn, oid, JOB_WRITER, CONTAINER, stage.now + 3601)


def test_runs_share_a_grant_until_the_last_ends(stage: Stage) -> None:
    stage.agent("a")
    first, first_run = started(stage)
    second, second_run = started(stage)
    stage.admit(first_run, "a")
    stage.admit(second_run, "a")
    assert len(assigned(stage, "a")) == 1
    stage.stop(first)
    assert len(assigned(stage, "a")) == 1
    stage.stop(second)
    assert assigned(stage, "a") == []


def test_mirror_gets_its_own_role(stage: Stage) -> None:
    stage.agent("a")
    _, run = started(stage, copyMode="Mirror")
    stage.admit(run, "a")
    assert [one.role for one in assigned(stage, "a")] == [JOB_MIRROR_WRITER.guid]


def test_an_assignment_that_somebody_removed_is_not_made_again_for_its_run(stage: Stage) -> None:
    stage.agent("a")
    job, run = started(stage)
    stage.admit(run, "a")
    role_assignments.remove(stage.conn, assigned(stage, "a")[0].id)
    with pytest.raises(RunError) as refused:
        stage.admit(run, "a")
    assert refused.value.code == "AZSM1024"
    _, other = started(stage)
    stage.admit(other, "a")
    assert len(assigned(stage, "a")) == 1
    stage.stop(job)
    assert len(assigned(stage, "a")) == 1


def test_grants_of_living_runs_are_prolonged_while_their_author_may(stage: Stage) -> None:
    oid = stage.agent("a").oid
    owner = stage.user(USER_ACCESS_ADMINISTRATOR.guid)
    run = stage.start(stage.job(container="photos", agentName="a"), stage.as_user(owner))
    stage.admit(run, "a")
    assert not grants.any_due(stage.conn, stage.now, 3600)
    stage.now += 2000
    assert grants.any_due(stage.conn, stage.now, 3600)
    assert grants.prolong(stage.conn, stage.now, 3600) == 1
    stage.now += 2000
    assert grants.holds(stage.conn, oid, JOB_WRITER, CONTAINER, stage.now)

    role_assignments.remove_of_principal(stage.conn, owner)
    for _ in range(2):
        assert grants.prolong(stage.conn, stage.now, 3600) == 0
    assert [one["code"] for one in stage.row(run).warnings] == ["AZSM1024"]
    assert not grants.holds(stage.conn, oid, JOB_WRITER, CONTAINER, stage.now + 1700)


def test_what_a_crash_left_is_removed(stage: Stage) -> None:
    stage.agent("a")
    _, run = started(stage)
    stage.admit(run, "a")
    stage.conn.exec_driver_sql("UPDATE runs SET status = 'Failed'")
    assert grants.any_due(stage.conn, stage.now, 1)
    assert grants.reconcile(stage.conn, stage.now) == 1
    assert assigned(stage, "a") == []
    assert not grants.any_due(stage.conn, stage.now, 1)


def test_an_assignment_in_the_way_is_left_alone(stage: Stage) -> None:
    oid = stage.agent("a").oid
    _, run = started(stage)
    stage.assign(JOB_WRITER.guid, oid, CONTAINER, condition=policy.expires(stage.now - 5))
    with pytest.raises(RunError) as refused:
        stage.admit(run, "a")
    assert refused.value.code == "AZSM1024"
    stage.run(run)
    assert len(assigned(stage, "a")) == 1
