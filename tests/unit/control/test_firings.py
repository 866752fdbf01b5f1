"""Schedules of jobs: what happens when they are due, and that it happens once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from tests.unit.control.scheduled import DAILY, DAY, HOUR, NOON, Scene
from tests.unit.control.stage import Stage
from wherry.control import audit, scheduler
from wherry.control.db.engine import Database
from wherry.control.db.tables_ledger import consents as consents_table
from wherry.control.db.tables_runs import runs as runs_table
from wherry.control.db.tables_schedules import firings as firings_table
from wherry.control.db.tables_schedules import schedules as schedules_table
from wherry.control.plane import Plane
from wherry.control.services import (
    agents,
    resource_store,
    resources,
)
from wherry.control.services.types.registry import target
from wherry.model import schedules as model
from wherry.model.errors import ApiError
from wherry.model.outcomes import iso_time
from wherry.model.run import RunStatus


@pytest.fixture
def scene(stage: Stage) -> Scene:
    stage.agent("a")
    return Scene(stage, stage.job(agentName="a"))


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
    ({"schedule": {"frequency": "Hourly", "startDate": "2027-03-01", "repeatInterval": "5"}}, "InvalidProperty",
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


def test_a_job_goes_with_its_schedule(scene: Scene) -> None:
    scene.put()
    resources.delete(scene.stage.conn, scene.stage.caller, target(scene.path))
    for table in (schedules_table, firings_table):
        assert scene.stage.conn.execute(select(table)).all() == []
    assert (
        scene.stage.conn.execute(select(consents_table).where(consents_table.c.ended_at.is_(None))).all()
        == []
    )


async def test_of_several_control_planes_one_fires(plane: Plane, clock: Any) -> None:
    clock.now = model.moment("2027-03-01T10:00:00Z")
    with plane.database.transaction() as conn:
        stage = Stage(conn, clock.now)
        stage.agent("a")
        scenes = [Scene(stage, stage.job(agentName="a")) for _ in range(3)]
        for one in scenes:
            one.put(wherry={"onOverlap": "fail"})
    others = [replace(plane, database=Database(plane.database.engine.url)) for _ in range(3)]
    clock.now += DAY
    await asyncio.gather(*(scheduler.look(one) for one in [plane, *others]))
    with plane.database.snapshot() as conn:
        found = conn.execute(select(runs_table.c.job_key, runs_table.c.status)).all()
    assert sorted(found) == sorted((one.key, "Queued") for one in scenes)
    for other in others:
        other.database.close()


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
