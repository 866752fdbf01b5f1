"""Schedules of jobs: who may enable them, what happens when they are due, and that it happens once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from tests.unit.control.stage import CONTAINER, MOVER, Stage
from wherry.control import audit, scheduler
from wherry.control.caller import Caller
from wherry.control.db.tables_ledger import consents as consents_table
from wherry.control.db.tables_runs import runs as runs_table
from wherry.control.db.tables_schedules import firings as firings_table
from wherry.control.db.tables_schedules import schedules as schedules_table
from wherry.control.plane import Plane
from wherry.control.services import (
    agents,
    consents,
    firings,
    resource_store,
    resources,
    role_assignments,
    run_end,
    standing_consents,
    users,
)
from wherry.control.services.types.registry import target
from wherry.model import schedules as model
from wherry.model.errors import ApiError, RunError
from wherry.model.outcomes import iso_time
from wherry.model.run import RunStatus, failed
from wherry.trust.roles import CONTRIBUTOR, MOVER_OPERATOR, USER_ACCESS_ADMINISTRATOR

HOUR = 3600.0
DAY = 24 * HOUR
NOON = {"hour": 12}
DAILY: dict[str, Any] = {"frequency": "Daily", "executionTime": NOON, "isActive": True}


@dataclass
class Scene:
    """A job of an agent; the clock stands at ten o'clock of a day."""

    stage: Stage
    path: str
    properties: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stage.now = model.moment("2027-03-01T10:00:00Z")
        found = resource_store.find(self.stage.conn, self.path)
        assert found is not None
        self.key, self.properties = found.key, dict(found.properties)

    def put(self, caller: Caller | None = None, schedule: Any = DAILY, **properties: Any) -> dict[str, Any]:
        told = self.properties | properties | ({"schedule": schedule} if schedule else {})
        who = caller or self.stage.caller
        caller = self.stage.as_user(who.principal.oid)
        # A request is a transaction: what is refused leaves nothing.
        with self.stage.conn.begin_nested():
            return dict(
                resources.put(self.stage.conn, caller, target(self.path), {"properties": told}).body[
                    "properties"
                ]
            )

    def shown(self) -> Any:
        return resources.get(self.stage.conn, target(self.path)).body["properties"]["wherry"]

    def at(self, text: str) -> None:
        self.stage.now = model.moment(text)

    def look(self) -> None:
        """One round of the duty, as `scheduler.look` makes it."""
        conn, now = self.stage.conn, self.stage.now
        for job in firings.put_back(conn, now):
            firings.reckon_anew(conn, job, now)
        for job in firings.due(conn, now):
            firings.fire(conn, job, now)
        for job in firings.waiting(conn):
            firings.resume(conn, job, now)

    def runs(self) -> list[Any]:
        query = select(runs_table).where(runs_table.c.job_key == self.key)
        return list(self.stage.conn.execute(query.order_by(runs_table.c.created_at, runs_table.c.id)))

    def finish(self) -> None:
        for row in self.runs():
            run_end.finish(self.stage.conn, self.stage.run(row.id), failed("AZSM1060"), self.stage.now)

    def outcomes(self) -> list[tuple[str, str]]:
        rows = self.stage.conn.execute(select(firings_table).order_by(firings_table.c.due_at))
        return [(row.outcome, row.code) for row in rows]

    def next(self) -> str | None:
        found = firings.next_due(self.stage.conn)
        return None if found is None else model.written(found)


@pytest.fixture
def scene(stage: Stage) -> Scene:
    stage.agent("a")
    return Scene(stage, stage.job(agentName="a"))


@pytest.fixture
def granted(stage: Stage) -> Scene:
    """A job into a container, which the agent cannot enter without a grant."""
    stage.agent("a")
    return Scene(stage, stage.job(container="photos", agentName="a"))


def test_a_schedule_starts_a_run_when_it_is_due_and_tells_what_comes(scene: Scene) -> None:
    told = scene.put()
    assert told["schedule"] == DAILY
    assert told["wherry"]["nextRuns"] == [f"2027-03-0{day}T12:00:00.000000Z" for day in range(1, 6)]
    assert told["wherry"]["scheduledBy"]
    scene.at("2027-03-01T11:59:59Z")
    scene.look()
    assert scene.runs() == []
    scene.at("2027-03-01T12:00:00Z")
    scene.look()
    scene.look()
    (run,) = scene.runs()
    assert (run.status, run.trigger, run.scheduled_at) == ("Queued", "Scheduled", scene.stage.now)
    assert scene.shown()["lastFiring"] == {
        "due": iso_time(scene.stage.now), "outcome": "Started", "jobRunResourceId": run.resource_id,
    }  # fmt: skip
    assert scene.next() == "2027-03-02T12:00:00Z"
    (record,) = [one for one in audit.records(scene.stage.conn) if one.get("scope") == scene.path]
    assert (record["result"], record["details"]["run"]) == ("allowed", run.resource_id)


def test_a_schedule_that_is_not_active_starts_nothing(scene: Scene) -> None:
    told = scene.put(schedule=DAILY | {"isActive": False})
    assert len(told["wherry"]["nextRunsWhenEnabled"]) == 5
    scene.at("2027-03-05T12:00:00Z")
    scene.look()
    assert scene.runs() == []
    scene.put()
    scene.put(schedule=None)
    assert scene.next() is None
    assert "wherry" not in resources.get(scene.stage.conn, target(scene.path)).body["properties"]


def test_times_are_those_of_the_zone_of_the_job(scene: Scene) -> None:
    scene.put(wherry={"timeZone": "America/New_York"})
    assert scene.next() == "2027-03-01T17:00:00Z"
    with pytest.raises(ApiError, match="no time zone"):
        scene.put(wherry={"timeZone": "New York"})


def test_what_was_missed_is_made_good_once(scene: Scene) -> None:
    scene.put()
    scene.at("2027-03-04T09:00:00Z")
    scene.look()
    (run,) = scene.runs()
    assert model.written(run.scheduled_at) == "2027-03-01T12:00:00Z"
    assert scene.next() == "2027-03-04T12:00:00Z"


@pytest.mark.parametrize("back", ["2027-03-01T10:00:00Z", "2027-03-01T11:59:00Z", "2027-02-20T00:00:00Z"])
def test_a_clock_that_jumps_ahead_and_back_fires_neither_twice_nor_never(scene: Scene, back: str) -> None:
    scene.put()
    scene.at("2030-01-01T00:00:00Z")
    scene.look()
    scene.finish()
    scene.at(back)
    scene.look()
    for day in ("2027-03-01", "2027-03-02", "2027-03-03"):
        scene.at(f"{day}T12:00:01Z")
        scene.look()
        scene.finish()
    due = sorted(model.written(run.scheduled_at) for run in scene.runs())
    assert [one for one in due if one >= "2027-03-01"] == [f"2027-03-0{day}T12:00:00Z" for day in (1, 2, 3)]


@pytest.mark.parametrize(("rule", "expected"), [("wait", 2), ("skip", 1), ("fail", 2)])
def test_a_run_before_that_goes_on(scene: Scene, rule: str, expected: int) -> None:
    scene.put(wherry={"onOverlap": rule})
    for day in (1, 2, 3):
        scene.at(f"2027-03-0{day}T12:00:00Z")
        scene.look()
    first, *others = scene.runs()
    assert first.status == "Queued"
    if rule == "fail":
        assert [(run.status, run.error_code) for run in others] == [("Failed", "AZSM1047")] * 2
        assert scene.outcomes()[1:] == [("Failed", "AZSM1047")] * 2
        return
    assert others == []
    outcome = ("Waiting", "") if rule == "wait" else ("Skipped", "AZSM1047")
    assert scene.outcomes() == [("Started", ""), outcome, ("Skipped", "AZSM1047")]
    assert ("waitingSince" in scene.shown()) == (rule == "wait")
    scene.finish()
    scene.stage.now += HOUR
    scene.look()
    scene.look()
    assert len(scene.runs()) == expected
    if rule == "wait":
        assert model.written(scene.runs()[1].scheduled_at) == "2027-03-02T12:00:00Z"
        assert scene.outcomes()[1] == ("Started", "")


def test_a_job_that_cannot_run_fails_and_comes_again(scene: Scene) -> None:
    scene.put()
    other = scene.stage.job(
        into=scene.stage.run(scene.stage.start(scene.path)).target.location, agentName="a"
    )
    scene.finish()
    busy = scene.stage.start(other)
    scene.at("2027-03-01T12:00:00Z")
    scene.look()
    run = scene.runs()[-1]
    assert (run.status, run.error_code, run.trigger) == ("Failed", "AZSM1027", "Scheduled")
    assert scene.stage.run(busy).status is RunStatus.QUEUED
    agents.unregister(scene.stage.conn, scene.stage.agent("a").key, scene.stage.now)
    scene.at("2027-03-02T12:00:00Z")
    scene.look()
    told = scene.shown()["lastFiring"]
    assert (told["outcome"], told["error"]["code"]) == ("Failed", "AZSM1048")
    assert "is not registered" in told["error"]["message"]
    assert scene.next() == "2027-03-03T12:00:00Z"


def test_once_and_then_never(scene: Scene) -> None:
    once = {"frequency": "Onetime", "startDate": "2027-03-01T00:00:00.000Z", "executionTime": NOON}
    told = scene.put(schedule=once | {"isActive": True})
    assert told["schedule"]["startDate"] == "2027-03-01T00:00:00Z"
    scene.at("2027-03-01T12:00:00Z")
    scene.look()
    assert len(scene.runs()) == 1
    assert scene.next() is None
    assert scene.shown()["nextRuns"] == []
    scene.put(schedule=None)
    with pytest.raises(ApiError, match="has passed"):
        scene.put(schedule=once | {"isActive": True})


def test_a_change_in_the_moment_when_it_is_due_loses_nothing(scene: Scene) -> None:
    scene.put()
    scene.at("2027-03-01T12:00:00Z")
    scene.put(wherry={"onOverlap": "skip"})
    scene.look()
    assert len(scene.runs()) == 1


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"schedule": DAILY | {"executionTime": {"hour": 1, "minute": 15}}}, "InvalidProperty",
     "schedule.executionTime.minute"),
    ({"schedule": DAILY | {"frequency": "Yearly"}}, "InvalidProperty", "schedule.frequency"),
    ({"schedule": DAILY | {"frequency": "Weekly"}}, "InvalidProperty", "schedule"),
    ({"schedule": {"frequency": "Hourly", "startDate": "2027-03-01", "repeatInterval": 5}}, "InvalidProperty",
     "schedule.repeatInterval"),
    ({"schedule": DAILY | {"startDate": "2027-06-15T00:00:00Z"}}, "InvalidProperty", "schedule.startDate"),
    ({"schedule": DAILY | {"endDate": "2028-06-15T00:00:00Z"}}, "InvalidProperty", "schedule.endDate"),
    ({"schedule": DAILY | {"startDate": 1}}, "InvalidProperty", "schedule.startDate"),
    ({"schedule": {"cronExpression": "* * * *"}}, "InvalidProperty", "schedule"),
    ({"wherry": {"onOverlap": "kill"}}, "InvalidProperty", "wherry.onOverlap"),
    ({"wherry": {"timeZone": 1}}, "InvalidProperty", "wherry.timeZone"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "where"), REFUSED)
def test_what_does_not_fit(scene: Scene, change: dict[str, Any], code: str, where: str) -> None:
    with pytest.raises(ApiError) as refused:
        scene.put(**change)
    assert (refused.value.code, refused.value.target) == (code, f"properties.{where}")


def test_what_an_answer_tells_may_be_sent_back(scene: Scene) -> None:
    told = scene.put(wherry={"onOverlap": "Skip", "timeZone": "Europe/Berlin", "maxDelete": 5})
    again = resources.put(scene.stage.conn, scene.stage.caller, target(scene.path), {"properties": told})
    assert again.body["properties"]["wherry"] == told["wherry"]
    found = resource_store.find(scene.stage.conn, scene.path)
    assert found is not None
    assert found.properties["wherry"] == {"onOverlap": "skip", "timeZone": "Europe/Berlin", "maxDelete": 5}


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
    assert standing_consents.withdraw(stage.conn, stage.caller, stage_job(granted), held.id)
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
    standing_consents.withdraw(stage.conn, stage.caller, stage_job(granted), held.id)
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


def test_a_job_goes_with_its_schedule(scene: Scene) -> None:
    scene.put()
    resources.delete(scene.stage.conn, scene.stage.caller, target(scene.path))
    for table in (schedules_table, firings_table):
        assert scene.stage.conn.execute(select(table)).all() == []
    assert (
        scene.stage.conn.execute(select(consents_table).where(consents_table.c.ended_at.is_(None))).all()
        == []
    )


async def test_the_duty_fires_once_and_an_odd_job_holds_up_nobody(plane: Plane, clock: Any) -> None:
    clock.now = model.moment("2027-03-01T10:00:00Z")
    with plane.database.transaction() as conn:
        stage = Stage(conn, clock.now)
        stage.agent("a")
        odd, sound = (Scene(stage, stage.job(agentName="a")) for _ in range(2))
        for one in (odd, sound):
            one.put()
        # Nobody is the author of this one any more.
        conn.execute(
            update(schedules_table).where(schedules_table.c.job_key == odd.key).values(author="nobody")
        )
    clock.now += DAY
    await scheduler.look(plane)
    await scheduler.look(plane)
    with plane.database.snapshot() as conn:
        assert conn.execute(select(runs_table.c.job_key)).scalars().all() == [sound.key]
    with plane.database.transaction() as conn:
        conn.execute(delete(schedules_table).where(schedules_table.c.job_key == odd.key))


def stage_job(scene: Scene) -> Any:
    found = resource_store.find(scene.stage.conn, scene.path)
    assert found is not None
    return found
