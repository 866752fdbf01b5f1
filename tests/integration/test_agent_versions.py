"""Agents of other versions, against a served control plane: who is told, who is refused, and what is worked off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.azurite import Azurite
from tests.integration.migration import GROUP, QUICK, Agent, World, rows, world
from wherry import __version__
from wherry.agent.register import Wanted, register
from wherry.agent.state import AgentState
from wherry.client.agent_protocol import AgentProtocol
from wherry.control.services import packages
from wherry.model.agent_versions import AVAILABLE, REQUIRED, SERVED
from wherry.model.errors import ApiError
from wherry.model.ledger import Span
from wherry.trust.packages import file_name

OLD = "0.0.9"
LATER = str(SERVED.newest._replace(patch=SERVED.newest.patch + 1))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        with world(tmp_path_factory.mktemp("plane"), azurite) as made:
            yield made


def shown(here: World, name: str) -> dict[str, object]:
    return dict(here.arm("GET", f"{here.mover_id}/agents/{name}").json()["properties"])


def become(here: World, name: str, version: str) -> Agent:
    """The agent of that name, whose program is of another version."""
    agent = here.agent(name)
    identity = agent.protocol.identity
    agent.protocol.close()
    agent.protocol = AgentProtocol(identity, version=version)
    return agent


@contextmanager
def offered(here: World, version: str) -> Iterator[None]:
    """A package that nobody fetches is put up meanwhile."""
    folder = here.folder / "made"
    folder.mkdir(exist_ok=True)
    (folder / file_name(version)).write_bytes(b"not read")
    packages.put_up(here.served.state, folder / file_name(version))
    yield
    packages.withdraw(here.served.state, version)


def test_an_agent_of_this_release_is_told_nothing(here: World) -> None:
    agent = here.agent("new")
    assert agent.protocol.heartbeat({"version": __version__}) > 0
    assert agent.protocol.notice is None
    assert "upgrade" not in shown(here, "new")["wherry"]  # type: ignore[operator]


def test_an_agent_that_is_not_the_newest_is_told_and_works_on(here: World) -> None:
    agent = here.agent("older")
    with offered(here, LATER):
        assert agent.protocol.heartbeat({"version": __version__}) > 0
        notice = agent.protocol.notice
        assert notice is not None
        assert (notice.code, notice.version) == (AVAILABLE, LATER)
        told = shown(here, "older")
        assert told["agentStatus"] == "Online"
        assert told["wherry"]["upgrade"] == {"standing": "Available", **notice.to_json()}  # type: ignore[index]
        job = here.job(agent="older")
        job.start()
        agent.commit(agent.take(), 1, rows("a"))
        job.await_status("Succeeded")
    agent.protocol.heartbeat({"version": __version__})
    assert agent.protocol.notice is None


def test_one_that_is_too_old_works_off_its_lease_and_gets_no_other(here: World) -> None:
    agent = become(here, "old", OLD)
    job, following = here.job(agent="old"), here.job(agent="old")
    agent.protocol.heartbeat({"version": __version__})
    agent.protocol._version = __version__
    job.start()
    grant = agent.take()
    agent.protocol._version = OLD

    # In the middle of its work: told, not refused.
    assert agent.protocol.heartbeat({"version": OLD}) > 0
    assert agent.protocol.notice is not None
    assert agent.protocol.notice.required
    agent.commit(grant, 1, rows("a"), Span(cursor=b"a"))
    following.start()
    for turn in range(2):
        with pytest.raises(ApiError) as refused:
            agent.protocol.take(0.0)
        assert (refused.value.status, refused.value.code) == (409, REQUIRED)
        assert f"It runs {OLD}; {SERVED.oldest} is needed at least" in refused.value.message
        assert "wherry package offer" in refused.value.message
        if not turn:
            agent.commit(grant, 2, rows("b"))
            assert job.await_status("Succeeded")["itemsTransferred"] == 2

    with pytest.raises(ApiError) as refused:
        agent.protocol.heartbeat({"version": OLD})
    assert refused.value.code == REQUIRED
    told = shown(here, "old")
    assert (told["agentStatus"], told["agentVersion"]) == ("RequiresAttention", OLD)
    assert told["errorDetails"]["code"] == REQUIRED  # type: ignore[index]
    assert following.status == "Queued"
    late = here.job(agent="old")
    late.start()
    (warned,) = [row for row in late.events() if row["statusCode"] == REQUIRED]
    assert (
        f"The run waits for an agent. The agent's version is not supported any more: it gets no work. It runs {OLD};"
        in (warned["message"])
    )

    # Upgraded, it goes on by itself; even before its first heartbeat.
    agent = become(here, "old", __version__)
    agent.commit(agent.take(), 1, rows("c"))
    following.await_status("Succeeded")
    agent.commit(agent.take(), 1, rows("d"))
    late.await_status("Succeeded")
    agent.protocol.heartbeat({"version": __version__})
    assert shown(here, "old")["agentStatus"] == "Online"


def test_one_that_is_too_old_can_fetch_what_helps_it(here: World) -> None:
    agent = become(here, "helped", OLD)
    with offered(here, "0.0.10"), pytest.raises(ApiError):
        agent.protocol.heartbeat({"version": OLD})
    with offered(here, LATER):
        assert agent.protocol.heartbeat({"version": OLD}) > 0
        assert agent.protocol.offered == LATER
        with pytest.raises(ApiError) as refused:
            agent.protocol.take(0.0)
        assert refused.value.code == REQUIRED


def test_an_agent_that_never_told_with_its_requests_counts_as_what_it_told_last(here: World) -> None:
    agent = become(here, "silent", OLD)
    with pytest.raises(ApiError):
        agent.protocol.heartbeat({"version": OLD})
    answer = agent.protocol.answer("POST", "/leases", json={"wait": 0})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, REQUIRED)


def test_one_that_is_too_old_is_not_registered(
    here: World, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr("wherry.agent.register.__version__", OLD)
    state = AgentState(here.folder / "late")
    wanted = Wanted(here.served.subscription, GROUP, here.mover, "late", here.served.url)
    state.trust_server(here.served.url, (here.served.state / "ca.pem").read_bytes())
    with pytest.raises(ApiError) as refused:
        list(register(state, wanted))
    assert refused.value.code == REQUIRED
    assert f"{SERVED.oldest} is needed at least" in refused.value.message
    assert state.registration() is None
