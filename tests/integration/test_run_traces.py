"""What runs leave behind and hide: leases of others, segments, logs; and agents that are deleted at work."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator

import pytest

from tests.azurite import Azurite
from tests.integration.migration import QUICK, World, rows, sas_works, world
from wherry.model.errors import ApiError
from wherry.model.ledger import Commit, Span
from wherry.model.outcomes import Counters, Outcome, encode_rows
from wherry.model.wire import Progress, SegmentName, token_to_json


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        with world(tmp_path_factory.mktemp("plane"), azurite) as made:
            yield made


def test_leases_of_others_are_not_to_be_seen(here: World) -> None:
    first, second = here.agent("one"), here.agent("two")
    job = here.job(agent="one")
    job.start()
    grant = first.take()
    for body in ({"token": token_to_json(grant.token), "progress": True}, {}):
        answer = second.protocol.answer("POST", f"/runs/{grant.order.run}/renew", json=body)
        assert answer.status_code == (404 if body else 400)
    answer = second.protocol.answer("POST", f"/runs/{uuid.uuid4()}/events", json={"events": []})
    assert answer.status_code == 404
    job.order("stopJob")
    first.ledger(grant).release(grant.token)


def test_segments_are_what_their_names_say(here: World) -> None:
    agent = here.agent("one")
    job = here.job(agent="one")
    job.start()
    grant = agent.take()
    place = f"{grant.order.run}/{grant.token.partition}/{grant.token.epoch}"
    good = encode_rows(rows("a"))
    digest = hashlib.sha256(good).hexdigest()
    for name, body in (
        (f"{place}/1-{'0' * 64}", good),
        (f"{place}/1-{hashlib.sha256(b'x').hexdigest()}", b"x"),
        (f"{grant.order.run}/{grant.token.partition}/9/1-{digest}", good),
        (f"{place}/1-{digest}.tmp", good),
    ):
        with pytest.raises(ApiError) as refused:
            agent.ledger(grant).put(grant.token, name, body)
        assert refused.value.status in (400, 404)
    unnamed = Progress(Commit(1, None), Counters(), (SegmentName(f"{place}/1-{'1' * 64}", 1),))
    with pytest.raises(ApiError) as refused:
        agent.ledger(grant).commit(grant.token, unnamed)
    assert refused.value.code == "SegmentMissing"
    job.order("stopJob")
    agent.ledger(grant).release(grant.token)


def test_logs_are_filtered_and_paged(here: World) -> None:
    agent = here.agent("one")
    job = here.job(agent="one")
    job.start()
    grant = agent.take()
    log = [*rows(*(f"d/{n:04}" for n in range(250))), *rows("e/bad", outcome=Outcome.FAILED, code="AZSM2062")]
    agent.commit(grant, 1, log, Span(cursor=b"e"))
    agent.ledger(grant).tell([{"level": "warning", "code": "AZSM1020", "message": "slow", "time": 5.0}])
    agent.commit(grant, 2, rows("f"))
    job.await_status("Failed")

    assert [row["itemPath"] for row in job.copy_log()] == [row.path.decode() for row in log] + ["f"]
    assert [row["itemPath"] for row in job.copy_log(outcome="Failed")] == ["e/bad"]
    assert [row["itemPath"] for row in job.copy_log(code="AZSM2062")] == ["e/bad"]
    assert len(job.copy_log(pathPrefix="d/00", **{"$top": "7"})) == 100
    assert [row["itemPath"] for row in job.copy_log(text="BAD")] == ["e/bad"]
    lines = here.arm("GET", f"{job.run_path}/copyLogs", format="jsonl", **{"$top": "3"})
    assert [json.loads(line)["itemPath"] for line in lines.text.splitlines()] == [
        "d/0000",
        "d/0001",
        "d/0002",
    ]
    assert 'rel="next"' in lines.headers["link"]
    assert lines.headers["content-disposition"].startswith("attachment;")
    told = job.events(level="Warning", code="AZSM1020")
    assert told == [
        {
            "timeGenerated": "1970-01-01T00:00:05.000000Z", "level": "Warning", "statusCode": "AZSM1020",
            "message": "slow", "agentName": "one",
        }
    ]  # fmt: skip
    assert here.arm("GET", f"{job.run_path}/copyLogs", outcome="no").status_code == 400


def test_an_agent_that_is_deleted_ends_the_runs_that_were_its_alone(here: World, azurite: Azurite) -> None:
    agent, partner = here.agent("leaving"), here.agent("staying")
    container = azurite.container().container_name
    alone, shared = (
        here.job(container=container, agent="leaving"),
        here.job(group=here.group("leaving", "staying")),
    )
    alone.start()
    lonely = agent.take()
    secret = agent.ledger(lonely).credential(lonely.token).secret
    shared.start()
    common = agent.take()
    assert common.order.run in shared.run_path
    machine = here.arm(
        "GET",
        here.mover_id.rsplit("/providers", 1)[0] + "/providers/Microsoft.HybridCompute/machines/leaving",
    ).json()
    assert machine["identity"]["principalId"] == agent.principal

    assert here.arm("DELETE", f"{here.mover_id}/agents/leaving").status_code == 202

    run = alone.await_status("Failed")
    assert run["error"]["code"] == "AZSM1041"
    alone.await_run(lambda run: run["wherry"]["accessState"] == "Ended")
    assert not sas_works(azurite, container, secret)
    assert here.assignments(agent) == []
    taken = partner.take()
    assert taken.order.run == common.order.run
    partner.sight(taken)
    partner.commit(taken, 1, rows("a"))
    shared.await_status("Succeeded")
