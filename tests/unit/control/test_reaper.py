"""What time decides about runs, and what it does not decide while the service itself was away."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import func, select, update

from tests.unit.control.stage import TTL, Stage
from wherry.control import reaper
from wherry.control.db.tables_ledger import partitions
from wherry.control.db.tables_runs import runs
from wherry.control.services import ledger, presence, resource_store
from wherry.control.settings import Settings
from wherry.model.ledger import Span
from wherry.model.run import RunStatus

SETTINGS = Settings()
LONG_AGO = 0.0


def judge(stage: Stage, run: str, began: float = LONG_AGO) -> tuple[RunStatus, str | None]:
    reaper.judge(stage.conn, run, stage.now, began, SETTINGS)
    return stage.run(run).status, stage.row(run).error_code


def test_a_run_is_lost_when_nobody_works_on_it_for_long(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    stage.lease(run, "a")
    stage.now += SETTINGS.agent_lost_seconds - 1
    ledger.expire(stage.conn, stage.now, 100)
    assert judge(stage, run)[0] is RunStatus.STARTED
    stage.now += 2
    assert judge(stage, run) == (RunStatus.FAILED, "AZSM1041")


def test_time_in_which_the_service_was_away_does_not_count(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    grant = stage.lease(run, "a")
    stage.commit(grant, "a", 1, Span(cursor=b"a"))
    stage.now += 10 * SETTINGS.agent_lost_seconds
    ledger.expire(stage.conn, stage.now, 100)
    assert judge(stage, run, began=stage.now - 5)[0] is RunStatus.RUNNING
    queued = stage.start(stage.job(agentName="a"))
    stage.now += 2 * SETTINGS.queued_limit_seconds
    assert judge(stage, queued, began=stage.now - 5)[0] is RunStatus.QUEUED
    assert judge(stage, queued) == (RunStatus.FAILED, "AZSM1042")


def test_a_run_with_a_living_lease_is_left_alone(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    stage.lease(run, "a")
    stage.conn.execute(update(partitions).values(expires_at=stage.now + 10 * SETTINGS.agent_lost_seconds))
    stage.now += 2 * SETTINGS.agent_lost_seconds
    assert judge(stage, run)[0] is RunStatus.STARTED


def test_partitions_of_an_ended_run_are_kept_for_repetitions_and_then_go(stage: Stage) -> None:
    job = stage.job(agentName=stage.agent("a").name)
    run = stage.start(job)
    grant = stage.lease(run, "a")
    answer = stage.commit(grant, "a", 1, None)
    assert stage.commit(grant, "a", 1, None) == answer
    reaper.forget_ended(stage.conn, stage.now)
    assert stage.commit(grant, "a", 1, None) == answer
    reaper.forget_ended(stage.conn, stage.now + 1)
    assert stage.conn.execute(select(func.count()).select_from(partitions)).scalar_one() == 0
    assert stage.conn.execute(select(func.count()).select_from(runs)).scalar_one() == 1


@pytest.mark.parametrize(("offset", "expected"), [(-1.0, "Offline"), (60.0, "Online")])
def test_the_state_of_an_agent_is_that_of_the_moment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, offset: float, expected: str
) -> None:
    monkeypatch.setattr(time, "time", lambda: stage.now)
    holder = stage.agent("a")

    def shown() -> str:
        agent = resource_store.find(stage.conn, holder.key)
        assert agent is not None
        properties = dict(agent.state)
        presence.view_agent(stage.conn, agent, properties)
        return str(properties["agentStatus"])

    presence.beat(stage.conn, holder.oid, {"agentVersion": "1"}, stage.now, stage.now + offset)
    assert shown() == expected
    run = stage.start(stage.job(agentName="a"))
    stage.lease(run, "a")
    assert shown() == ("Offline" if expected == "Offline" else "Executing")
    stage.now += TTL + 1
    assert shown() == "Offline"
