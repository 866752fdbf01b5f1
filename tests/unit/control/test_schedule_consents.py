"""Who may enable the schedule of a job, and what its runs rest on."""

from __future__ import annotations

import pytest

from tests.unit.control.scheduled import DAILY, Scene
from tests.unit.control.stage import CONTAINER, MOVER, Stage
from wherry.control.services import (
    consents,
    resources,
    role_assignments,
    standing_consents,
    users,
)
from wherry.control.services.types.registry import target
from wherry.model.errors import ApiError, RunError
from wherry.trust.roles import CONTRIBUTOR, MOVER_OPERATOR, USER_ACCESS_ADMINISTRATOR


@pytest.fixture
def granted(stage: Stage) -> Scene:
    """A job into a container, which the agent cannot enter without a grant."""
    stage.agent("a")
    return Scene(stage, stage.job(container="photos", agentName="a"))


def test_who_enables_it_has_to_be_able_to_start_the_job(granted: Scene) -> None:
    stage = granted.stage
    contributor = stage.as_user(stage.user(CONTRIBUTOR.guid))
    operator = stage.as_user(stage.user(MOVER_OPERATOR.guid, MOVER))
    for who in (contributor, operator):
        with pytest.raises(ApiError) as refused:
            granted.put(who)
        assert refused.value.code == "AuthorizationFailed"
    granted.put(contributor, schedule=DAILY | {"isActive": False})
    assert granted.next() is None


def test_the_consent_is_that_of_who_enabled_it(granted: Scene) -> None:
    stage = granted.stage
    owner = stage.user(USER_ACCESS_ADMINISTRATOR.guid)
    stage.assign(CONTRIBUTOR.guid, owner, MOVER.partition("/providers/")[0], "User")
    granted.put(stage.as_user(owner))
    (held,) = consents.of_job(stage.conn, granted.key, stage.now)
    assert (held.run, held.author, held.scope) == (consents.SCHEDULE, owner, CONTAINER)
    # It is good for what the schedule starts, not for who may only start the job.
    operator = stage.as_user(stage.user(MOVER_OPERATOR.guid, MOVER))
    with pytest.raises(ApiError), stage.conn.begin_nested():
        stage.start(granted.path, operator)
    granted.at("2027-03-01T12:00:00Z")
    granted.look()
    (run,) = granted.runs()
    basis = consents.of_run(stage.conn, run.id)
    assert basis is not None
    assert (basis.author, basis.standing) == (owner, held.id)
    # A contributor may change what is no matter of access, and neither the times nor who works.
    contributor = stage.as_user(stage.user(CONTRIBUTOR.guid))
    granted.put(contributor, description="other")
    granted.put(contributor, wherry={"maxDelete": 7})
    stage.agent("b")
    for change in (
        {"schedule": DAILY | {"executionTime": {"hour": 13}}},
        {"copyMode": "Mirror"},
        {"agentName": "b"},
    ):
        with pytest.raises(ApiError) as refused:
            granted.put(contributor, **change)
        assert refused.value.code == "AuthorizationFailed", change


def test_the_right_of_who_enabled_it_is_asked_at_each_firing(granted: Scene) -> None:
    stage = granted.stage
    owner = stage.user(USER_ACCESS_ADMINISTRATOR.guid)
    named = stage.assign(CONTRIBUTOR.guid, owner, MOVER.partition("/providers/")[0], "User")
    granted.put(stage.as_user(owner))
    role_assignments.remove(stage.conn, named)
    granted.at("2027-03-01T12:00:00Z")
    granted.look()
    assert [run.error_code for run in granted.runs()] == ["AZSM1048"]
    stage.assign(CONTRIBUTOR.guid, owner, MOVER.partition("/providers/")[0], "User")
    (held,) = consents.of_job(stage.conn, granted.key, stage.now)
    assert standing_consents.withdraw(stage.conn, stage.caller, granted.job, held.id)
    granted.at("2027-03-02T12:00:00Z")
    granted.look()
    assert [run.error_code for run in granted.runs()] == ["AZSM1048", "AZSM1024"]
    users.delete(stage.conn, owner, stage.now)
    granted.at("2027-03-03T12:00:00Z")
    granted.look()
    assert [run.error_code for run in granted.runs()][2:] == ["AZSM1048"]


def test_a_run_goes_on_when_its_schedule_is_disabled_and_not_without_its_consent(granted: Scene) -> None:
    stage = granted.stage
    granted.put()
    granted.at("2027-03-01T12:00:00Z")
    granted.look()
    (run,) = granted.runs()
    granted.put(schedule=DAILY | {"isActive": False})
    assert consents.of_job(stage.conn, granted.key, stage.now) == []
    consents.require(stage.conn, run.id, stage.now)
    granted.finish()
    granted.put()
    granted.at("2027-03-02T12:00:00Z")
    granted.look()
    (held,) = consents.of_job(stage.conn, granted.key, stage.now)
    standing_consents.withdraw(stage.conn, stage.caller, granted.job, held.id)
    with pytest.raises(RunError, match="consent to all runs"):
        consents.require(stage.conn, granted.runs()[1].id, stage.now)


def test_the_consent_to_a_schedule_that_is_over_ends(granted: Scene) -> None:
    once = {"frequency": "Onetime", "startDate": "2027-03-01T12:00:00Z", "isActive": True}
    granted.put(schedule=once)
    granted.at("2027-03-01T12:00:00Z")
    granted.look()
    (run,) = granted.runs()
    assert consents.of_job(granted.stage.conn, granted.key, granted.stage.now) == []
    consents.require(granted.stage.conn, run.id, granted.stage.now)


def test_a_job_whose_agent_and_endpoint_are_gone_can_be_disabled(granted: Scene) -> None:
    stage = granted.stage
    granted.put()
    for path in (f"{MOVER}/agents/a", f"{MOVER}/endpoints/{granted.properties['targetName']}"):
        resources.delete(stage.conn, stage.caller, target(path))
    off = granted.put(schedule=DAILY | {"isActive": False}, description="broken")
    assert off["description"] == "broken"
    assert off["agentResourceId"] == f"{MOVER}/agents/a"
    assert granted.next() is None
    for change in ({"agentName": "other"}, {"agentName": None, "wherry": {"agentGroup": "other"}}):
        with pytest.raises(ApiError, match="There is no agent"):
            granted.put(schedule=None, **change)
    with pytest.raises(ApiError):
        granted.put()
