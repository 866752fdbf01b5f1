"""What agents send is taken or refused with 400; nothing of it can make readers fail later."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from starlette.requests import Request

from tests.unit.control.conftest import START
from tests.unit.control.stage import Stage
from wherry.control.agents import messages, work
from wherry.control.agents.messages import body_of, facts_of, token_of
from wherry.control.plane import Plane
from wherry.control.services import ledger, sightings
from wherry.control.services.ledger import Holder
from wherry.model.errors import ApiError
from wherry.model.wire import Sighting
from wherry.trust.principals import Principal

NO_LIMITS: tuple[object, ...] = (
    {"limitInMbps": -1},
    {"limitInMbps": True},
    {"limitInMbps": 2**31},
    {"limitInMbps": "7"},
    {},
    [7],
    7,
)
HALF = "\ud800"


def asked_by(agent: Holder, plane: Plane) -> Request:
    """A request of an agent that the guard has let through."""
    principal = Principal("agent", agent.oid, plane.tenant, agent.name)
    app = SimpleNamespace(state=SimpleNamespace(plane=plane))
    return Request({"type": "http", "headers": [], "app": app, "state": {"principal": principal}})


async def read(body: bytes) -> dict[str, object]:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return await body_of(Request({"type": "http", "headers": []}, receive))


@pytest.mark.parametrize("body", [json.dumps({"version": HALF}).encode(), b'{"version": "\xed\xa0\x80"}'])
async def test_a_text_that_is_none_is_refused_before_it_is_kept(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        facts_of(await read(body))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "key", ["SHA256:short", "MD5:" + "a" * 43, "SHA256:" + "a" * 42 + "<", ["SHA256:" + "a" * 43]]
)
def test_a_fingerprint_that_is_none_is_refused(key: object) -> None:
    with pytest.raises(ApiError) as refused:
        facts_of({"sshHostKey": key})
    assert refused.value.status == 400
    assert facts_of({"sshHostKey": "SHA256:" + "a" * 43})["wherry"] == {"sshHostKey": "SHA256:" + "a" * 43}


@pytest.mark.parametrize(
    "change", [{"partition": 10**30}, {"partition": 1e300}, {"epoch": 10**30}, {"incarnation": HALF}]
)
async def test_a_lease_that_cannot_be_is_refused(plane: Plane, change: dict[str, object]) -> None:
    told = {"incarnation": "i", "partition": 1, "epoch": 1, "lease": "l"} | change
    with plane.database.transaction() as conn:
        stage = Stage(conn, START)
        agent = stage.agent("a")
        run = stage.start(stage.job(agentName="a"))
    with pytest.raises(ApiError) as refused:
        await messages.holding(asked_by(agent, plane), ledger.held, run, token_of({"token": told}), START)
    assert refused.value.status in (400, 404, 409)


async def test_a_sighting_that_cannot_be_kept_is_refused(plane: Plane) -> None:
    with plane.database.transaction() as conn:
        stage = Stage(conn, START)
        agent = stage.agent("a")
        run = stage.start(stage.job(agentName="a"))
        stage.admit(run, "a")
        token = stage.lease(run, "a").token
    for seen in (Sighting("s", "t", 10**30), Sighting(HALF, "t", 1)):
        with pytest.raises(ApiError, match="cannot be kept"):
            await messages.holding(asked_by(agent, plane), sightings.sight, run, token, seen, START)


@pytest.mark.parametrize("time", [1e300, -1e300, float("nan"), float("inf"), 10**400, True, [], "no", None])
def test_a_time_that_nobody_could_show_is_left_out(time: object) -> None:
    assert work._event({"message": "m", "time": time})[0] is None


@pytest.mark.parametrize("time", [5.0, "1970-01-01T00:00:05Z", "1970-01-01T00:00:05"])
def test_a_time_is_kept(time: object) -> None:
    assert work._event({"message": "m", "time": time})[0] == 5.0


@pytest.mark.parametrize("told", NO_LIMITS)
def test_a_limit_that_is_none_is_left_out(told: object) -> None:
    assert "uploadLimit" not in facts_of({"uploadLimit": told})
    assert facts_of({"uploadLimit": {"limitInMbps": 0}})["uploadLimit"] == {"limitInMbps": 0}
