"""What an agent is told of runs: of its own and its groups', of nobody else's, and of no run before its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import update

from tests.unit.control.conftest import START
from tests.unit.control.stage import CONTAINER, MOVER, Stage
from wherry.control.db.tables_runs import runs
from wherry.control.plane import Plane
from wherry.control.refusals import NotTheirs
from wherry.control.services import assigned
from wherry.control.services.ledger import Holder
from wherry.model.entry import Kind
from wherry.model.ledger import Span
from wherry.model.outcomes import Outcome, Row

BUCKET = {
    "endpointType": "S3WithHMAC",
    "sourceUri": "https://s3.example/bucket",
    "sourceType": "OTHER",
    "credentials": {
        "type": "AzureKeyVaultS3WithHMAC",
        "accessKeyUri": "https://plane.example/secrets/id",
        "secretKeyUri": "https://plane.example/secrets/key",
    },
}


@pytest.fixture
def stage(plane: Plane) -> Iterator[Stage]:
    with plane.database.transaction() as conn:
        yield Stage(conn, START)


@contextmanager
def not_there() -> Iterator[None]:
    with pytest.raises(NotTheirs) as refused:
        yield
    assert (refused.value.status, refused.value.code) == (404, "RunNotFound")


def told(stage: Stage, holder: Holder) -> list[str]:
    return [one["jobRun"] for one, _ in assigned.runs_of(stage.conn, holder, None, 50)]


def test_a_run_is_told_of_to_the_agent_that_it_is_for(stage: Stage) -> None:
    agent = stage.agent("a")
    job = stage.job(agentName="a")
    run = stage.start(job)
    stage.admit(run, "a")
    grant = stage.lease(run, "a")
    failed = Row(0.0, Kind.FILE, Outcome.FAILED, "AZSM1061", 1, b"x")
    stage.commit(grant, "a", 1, Span(b"y", None), log=[failed])

    ((shown, _),) = assigned.runs_of(stage.conn, agent, None, 50)
    assert (shown["jobDefinition"], shown["project"], shown["jobRun"]) == (job.rpartition("/")[2], "p", run)
    assert (shown["status"], shown["itemsFailed"]) == ("Running", 1)
    found = assigned.details(stage.conn, agent, run, START)
    assert (found["itemsScanned"], found["itemsFailed"], found["copyMode"]) == (1, 1, "Additive")
    assert found["source"]["kind"] == "LocalMount"
    assert (found["partsHeld"], found["partsHeldHere"]) == (1, 1)


def test_attack_43_another_agents_run_is_not_there(stage: Stage) -> None:
    stage.agent("a")
    run = stage.start(stage.job(agentName="a"))
    for other in (stage.agent("b"), Holder("no-identity", f"{MOVER}-2/agents/a", "a")):
        assert told(stage, other) == []
        with not_there():
            assigned.details(stage.conn, other, run, START)
        with not_there():
            assigned.require(stage.conn, other, run)
    with not_there():
        assigned.details(stage.conn, stage.agent("a"), "00000000-0000-4000-8000-000000000000", START)


def test_a_run_of_a_group_is_its_members(stage: Stage) -> None:
    inside, outside = stage.agent("in"), stage.agent("out")
    run = stage.start(stage.job(wherry={"agentGroup": stage.group("in")}))
    assert (told(stage, inside), told(stage, outside)) == ([run], [])


def test_attack_43_who_takes_the_name_of_an_agent_does_not_read_what_that_one_did(stage: Stage) -> None:
    agent = stage.agent("a")
    run = stage.start(stage.job(agentName="a"))
    stage.conn.execute(update(runs).where(runs.c.id == run).values(ended_at=START - 10, status="Succeeded"))
    with not_there():
        assigned.details(stage.conn, agent, run, START)
    stage.conn.execute(update(runs).where(runs.c.id == run).values(ended_at=START + 10))
    assert told(stage, agent) == [run]


def test_runs_come_page_by_page_the_latest_first(stage: Stage) -> None:
    agent = stage.agent("a")
    made = []
    for _ in range(5):
        stage.now += 1
        made.append(stage.start(stage.job(agentName="a")))
    shown: list[str] = []
    after = None
    while page := assigned.runs_of(stage.conn, agent, after, 2):
        shown += [one["jobRun"] for one, _ in page]
        after = page[-1][1]
    assert shown == made[::-1]


def test_the_places_of_its_jobs_are_told_without_what_opens_them(stage: Stage) -> None:
    agent = stage.agent("a")
    stage.job(agentName="A", container="photos", source="/data/in")
    stage.job(agentName="a", container="photos", source="/data/in")
    stage.put(f"{MOVER}/endpoints/bucket", BUCKET)
    stage.put(f"{MOVER}/endpoints/folder", {"endpointType": "LocalMount", "path": "/data/out"})
    names: dict[str, Any] = {"sourceName": "folder", "targetName": "bucket"}
    stage.put(f"{MOVER}/projects/p/jobDefinitions/more", {"copyMode": "Additive", "agentName": "a", **names})
    found = assigned.places(stage.conn, agent)
    assert {(one["side"], one["kind"], one["location"]) for one in found} == {
        ("source", "LocalMount", "/data/in"),
        ("target", "AzureStorageBlobContainer", "https://blob.example/photos"),
        ("source", "LocalMount", "/data/out"),
        ("target", "S3WithHMAC", "https://s3.example/bucket"),
    }
    assert {name for one in found for name in one} == {"side", "name", "kind", "location", "certificates"}
    assert assigned.places(stage.conn, stage.agent("b")) == []
    assert CONTAINER not in str(found)
    assert "secrets" not in str(found)
