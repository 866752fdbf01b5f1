"""Access whose ground is gone while its run goes on: nobody at work, or a right that was taken away."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from tests.unit.control.stage import CONTAINER, Stage
from wherry.control import reaper
from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_ledger import partitions, past_grants
from wherry.control.services import (
    credentials,
    grants,
    identities,
    lapses,
    ledger,
    role_assignments,
    surrender,
)
from wherry.control.services.credentials import LIVE, OPENING, WITHDRAWING
from wherry.control.services.run_state import RunState
from wherry.control.settings import Settings
from wherry.model.errors import LeaseLost
from wherry.trust import policy
from wherry.trust.roles import JOB_WRITER, USER_ACCESS_ADMINISTRATOR

IDLE = 15.0


def at_work(stage: Stage, *agents: str, **properties: Any) -> tuple[str, str]:
    """Job and run into the container on which these agents have a lease each."""
    who = {"agentName": agents[0]} if len(agents) == 1 else {"wherry": {"agentGroup": stage.group(*agents)}}
    for one in agents:
        stage.agent(one)
    job = stage.job(container="photos", **who, **properties)
    run = stage.start(job)
    for one in agents:
        stage.admit(run, one)
        opened(stage, run)
    stage.lease(run, agents[0])
    return job, run


def opened(stage: Stage, run: str) -> str:
    """Write the run's policy down as standing; its name."""
    made = credentials.open_for(stage.conn, stage.run(run), stage.now + 900, "wherry-test-")
    credentials.stands(stage.conn, made.id, made.expires_at, stage.now)
    return made.id


def assigned(stage: Stage, agent: str) -> list[str]:
    return [one.id for one in role_assignments.of_principal(stage.conn, stage.agent(agent).oid)]


def state_of(stage: Stage, run: str) -> str:
    known = credentials.of_run(stage.conn, run)
    assert known is not None
    return known.state


def reap(stage: Stage) -> RunState:
    """What a round of the reaper does to runs and grants."""
    ledger.expire(stage.conn, stage.now, 100)
    grants.prolong(stage.conn, stage.now, 900)
    grants.reconcile(stage.conn, stage.now)
    found = lapses.found(stage.conn, stage.now, IDLE)
    for run in found:
        lapses.settle(stage.conn, run, stage.now, IDLE)
    # What was done once is not to do again.
    assert lapses.found(stage.conn, stage.now, IDLE) == []
    return stage.run(stage.conn.exec_driver_sql("SELECT id FROM runs").scalar_one())


def test_a_run_at_work_keeps_its_access(stage: Stage) -> None:
    _, run = at_work(stage, "a")
    for _ in range(40):
        stage.now += 50
        stage.conn.execute(update(partitions).values(expires_at=stage.now + 60))
        assert not reap(stage).ended
    assert state_of(stage, run) == LIVE
    assert len(assigned(stage, "a")) == 1
    assert grants.holds(stage.conn, stage.agent("a").oid, JOB_WRITER, CONTAINER, stage.now)


def test_attack_53_an_agent_that_fell_silent_keeps_nothing_and_is_let_in_again_when_it_works(
    stage: Stage,
) -> None:
    _, run = at_work(stage, "a")
    before = credentials.of_run(stage.conn, run)
    stage.now += 61
    assert not reap(stage).ended
    assert assigned(stage, "a") == []
    assert state_of(stage, run) == WITHDRAWING
    stage.now += 5
    stage.admit(run, "a")
    again = opened(stage, run)
    stage.lease(run, "a")
    assert before is not None
    assert again != before.id
    assert state_of(stage, run) == LIVE
    assert not reap(stage).ended
    assert len(assigned(stage, "a")) == 1


def test_attack_53_a_service_killed_between_grant_and_start_leaves_nothing(stage: Stage) -> None:
    stage.agent("a")
    run = stage.start(stage.job(container="photos", agentName="a"))
    stage.now += 3600
    stage.admit(run, "a")
    credentials.open_for(stage.conn, stage.run(run), stage.now + 900, "wherry-test-")
    stage.now += IDLE - 1
    assert reap(stage).status.value == "Queued"
    assert (len(assigned(stage, "a")), state_of(stage, run)) == (1, OPENING)
    stage.now += 2
    assert reap(stage).status.value == "Queued"
    assert (assigned(stage, "a"), state_of(stage, run)) == ([], WITHDRAWING)


def removed(stage: Stage) -> None:
    role_assignments.remove(stage.conn, assigned(stage, "a")[0])


def changed(stage: Stage) -> None:
    past = policy.expires(stage.now - 1)
    role_assignments.change(
        stage.conn, assigned(stage, "a")[0], condition=past, description=None, by=stage.admin, now=stage.now
    )


def disabled(stage: Stage) -> None:
    oid = stage.agent("a").oid
    stage.conn.execute(update(principals).where(principals.c.oid == oid).values(enabled=False))


def target_deleted(stage: Stage) -> None:
    role_assignments.remove_below(stage.conn, CONTAINER.rpartition("/blobServices")[0])


@pytest.mark.parametrize("lose", [removed, changed, disabled, target_deleted])
def test_attack_53_a_right_that_is_taken_away_ends_the_run_and_its_credential(
    stage: Stage, lose: Any
) -> None:
    _, run = at_work(stage, "a")
    lose(stage)
    ended = reap(stage)
    assert (ended.status.value, stage.row(run).error_code) == ("Failed", "AZSM1024")
    assert state_of(stage, run) == WITHDRAWING
    assert not grants.runs_of(stage.conn, stage.agent("a").oid)


def test_a_right_that_others_gave_ends_the_run_when_they_take_it_away(stage: Stage) -> None:
    theirs = stage.assign(JOB_WRITER.guid, stage.agent("a").oid, CONTAINER)
    _, run = at_work(stage, "a")
    assert assigned(stage, "a") == [theirs]
    stage.now += 10
    assert not reap(stage).ended
    role_assignments.remove(stage.conn, theirs)
    assert reap(stage).ended
    assert state_of(stage, run) == WITHDRAWING


def test_attack_53_an_owner_who_is_removed_in_mid_job_lets_nobody_in_beyond_the_present_grant(
    stage: Stage,
) -> None:
    owner = stage.user(USER_ACCESS_ADMINISTRATOR.guid)
    stage.agent("a")
    run = stage.start(stage.job(container="photos", agentName="a"), stage.as_user(owner))
    grants.ensure(stage.conn, stage.run(run), stage.agent("a").oid, stage.now, 900)
    opened(stage, run)
    stage.lease(run, "a")
    role_assignments.remove_of_principal(stage.conn, owner)
    stage.conn.execute(update(partitions).values(expires_at=stage.now + 9000))
    stage.now += 899
    assert not reap(stage).ended
    stage.now += 2
    assert reap(stage).ended
    assert stage.row(run).error_code == "AZSM1024"
    assert (assigned(stage, "a"), state_of(stage, run)) == ([], WITHDRAWING)


def test_attack_53_an_identity_of_a_group_that_is_deleted_takes_the_shared_credential_with_it(
    stage: Stage,
) -> None:
    _, run = at_work(stage, "a", "b")
    old = credentials.of_run(stage.conn, run)
    lease = stage.conn.execute(select(partitions.c.lease).where(partitions.c.run == run)).scalar_one()
    assert lease
    surrender.give_back(stage.conn, stage.agent("b").oid, stage.now)
    identities.delete_agent(stage.conn, stage.agent("b").oid, stage.now)
    assert state_of(stage, run) == WITHDRAWING
    assert assigned(stage, "b") == []
    assert len(assigned(stage, "a")) == 1
    assert not reap(stage).ended
    # Who works on takes a new lease, and with it a credential of another name.
    stage.admit(run, "a")
    assert old is not None
    assert opened(stage, run) != old.id
    stage.commit(stage.lease(run, "a"), "a", 1, None)
    assert stage.run(run).status.value == "Succeeded"
    assert assigned(stage, "a") == []


def test_attack_53_an_identity_that_is_disabled_does_not_end_the_work_of_its_group(stage: Stage) -> None:
    _, run = at_work(stage, "a", "b")
    disabled(stage)
    assert not reap(stage).ended
    assert state_of(stage, run) == WITHDRAWING
    assert assigned(stage, "a") == []
    assert stage.conn.execute(select(partitions.c.lease)).scalar_one() == ""


@pytest.mark.parametrize("jump", [86400.0 * 400, -86400.0 * 400])
def test_attack_53_a_clock_that_jumps_leaves_nothing_behind(stage: Stage, jump: float) -> None:
    job, run = at_work(stage, "a")
    stage.now += jump
    reap(stage)
    if jump > 0:
        assert (assigned(stage, "a"), state_of(stage, run)) == ([], WITHDRAWING)
    stage.stop(job)
    stage.now += 61
    ledger.expire(stage.conn, stage.now, 100)
    stage.conn.execute(update(partitions).values(expires_at=0.0))
    reaper.judge(stage.conn, run, stage.now, 0.0, Settings())
    assert reap(stage).status.value == "Canceled"
    assert (assigned(stage, "a"), state_of(stage, run)) == ([], WITHDRAWING)


def test_attack_53_two_runs_share_an_assignment_and_the_end_of_one_leaves_the_other_its_own(
    stage: Stage,
) -> None:
    first, _ = at_work(stage, "a", targetSubpath="one")
    second = stage.job(container="photos", agentName="a", targetSubpath="two")
    other = stage.start(second)
    stage.admit(other, "a")
    opened(stage, other)
    token = stage.lease(other, "a")
    (shared,) = assigned(stage, "a")
    stage.now += 61
    ledger.expire(stage.conn, stage.now, 100)
    stage.stop(first)
    assert assigned(stage, "a") == [shared]
    stage.stop(second)
    assert assigned(stage, "a") == []
    with pytest.raises(LeaseLost):
        stage.commit(token, "a", 1, None)
    (past,) = stage.conn.execute(select(past_grants)).all()
    assert (past.assignment, past.scope, past.ended_at) == (shared, CONTAINER, stage.now)


def test_rights_are_looked_at_when_one_has_changed_and_every_now_and_then(stage: Stage) -> None:
    stage.agent("a")
    watch, now = lapses.Watch(), stage.now

    def due(later: float = 0.0) -> bool:
        return watch.is_due(lapses.rights(stage.conn), now + later, 5.0)

    assert due()
    assert not due()
    oid = stage.user()
    assert due()
    name = stage.assign(USER_ACCESS_ADMINISTRATOR.guid, oid, CONTAINER.rpartition("/providers/")[0], "User")
    assert due()
    stage.now += 1
    role_assignments.change(
        stage.conn, name, condition=policy.expires(now + 60), description=None, by=oid, now=stage.now
    )
    assert due()
    role_assignments.remove(stage.conn, name)
    assert due()
    # Made and removed between two looks.
    at_work(stage, "a")
    role_assignments.remove(stage.conn, assigned(stage, "a")[0])
    assert due()
    stage.conn.execute(update(principals).where(principals.c.oid == oid).values(enabled=False))
    assert due()
    assert not due(4.9)
    assert due(5.0)
    assert due(-10.0)
