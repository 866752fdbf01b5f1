"""The agent's process against a control plane that comes and goes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.connect_proxy import HOST, connect_proxy, far_away
from tests.tls_server import CLIENT, TENANT, Answer, Authority, Request, TlsServer
from wherry.agent import daemon as daemons
from wherry.agent.daemon import EXIT_IDENTITY_GONE, EXIT_STOPPED, Options, run
from wherry.agent.shell.status import picture
from wherry.agent.state import AgentState, Registration
from wherry.model.agent_versions import AVAILABLE, REQUIRED, Notice
from wherry.model.errors import UsageError
from wherry.model.ledger import Span, Token
from wherry.model.options import JobOptions
from wherry.model.way import Proxy, Way
from wherry.model.wire import Grant, Place, RunOrder
from wherry.trust.authority import fingerprint

LIMIT = 20.0


class Plane:
    """Heartbeats, leases and releases as they come; `beats` and `polls` are set by each."""

    def __init__(self, server: TlsServer, authority: Authority) -> None:
        self.server, self.authority = server, authority
        self.beats, self.polls, self.released = threading.Event(), threading.Event(), threading.Event()
        self.free = threading.Event()
        self.beat = Answer(200, {"interval": 0.05})
        self.grants: list[Grant] = []
        server.on("POST", "/agent/v1/heartbeat", authority.guard(self._beat))
        server.on("POST", "/agent/v1/leases", authority.guard(self._lease))
        server.on("POST", "/agent/v1/runs/.*/release", authority.guard(self._release))

    def _beat(self, _request: Request) -> Answer:
        self.beats.set()
        return self.beat

    def _lease(self, _request: Request) -> Answer:
        self.polls.set()
        if self.grants:
            return Answer(200, self.grants.pop(0).to_json())
        self.free.wait(LIMIT)
        return Answer(204)

    def _release(self, _request: Request) -> Answer:
        self.released.set()
        return Answer(204)

    def registration(self) -> Registration:
        return Registration(
            url=self.server.url,
            mover="/m",
            agent="a",
            agent_id="/m/agents/a",
            machine_id="/machine",
            principal_id="p",
            client_id=CLIENT,
            tenant_id=TENANT,
            token_endpoint=self.authority.token_endpoint,
            issuer=self.authority.issuer,
            heartbeat_seconds=30.0,
        )

    def register(self, state: AgentState) -> None:
        self.authority.agent_tokens(state.key())
        state.trust_server(self.server.url, self.server.ca.certificate)
        state.keep_registration(self.registration())


@pytest.fixture
def plane(server: TlsServer, authority: Authority) -> Iterator[Plane]:
    made = Plane(server, authority)
    yield made
    made.free.set()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "_WATCH_SECONDS", 0.02)
    monkeypatch.setattr(daemons, "pause", lambda *_: 0.02)


@contextmanager
def agent(state: AgentState, **options: Any) -> Iterator[Callable[..., int]]:
    """The agent of `state` at work; call what is given to wait for its exit code."""
    stopping = threading.Event()
    ended: list[int | BaseException] = []

    def work() -> None:
        try:
            ended.append(run(state, Options(**{"workers": 0, **options}), stopping))
        except BaseException as trouble:  # noqa: BLE001 - handed to the test
            ended.append(trouble)

    thread = threading.Thread(target=work)
    thread.start()

    def wait(stop: bool = False) -> int:
        if stop:
            stopping.set()
        thread.join(LIMIT)
        assert not thread.is_alive()
        if isinstance(ended[0], BaseException):
            raise ended[0]
        return ended[0]

    try:
        yield wait
    finally:
        stopping.set()
        thread.join(LIMIT)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_it_beats_and_asks_for_work_until_it_is_told_to_stop(plane: Plane, state: AgentState) -> None:
    plane.register(state)

    with agent(state) as wait:
        assert plane.beats.wait(LIMIT)
        assert plane.polls.wait(LIMIT)
        assert wait(stop=True) == EXIT_STOPPED

    assert "hostName" in plane.server.seen("/agent/v1/heartbeat")[0].json


def test_it_goes_by_its_proxy_and_by_another_as_soon_as_that_is_set(
    tmp_path: Path, state: AgentState
) -> None:
    with far_away(tmp_path / "far") as far, connect_proxy() as other:
        other.names[HOST] = "127.0.0.1"
        plane = Plane(far.server, Authority(far.server))
        plane.register(state)
        state.keep_way(far.way())
        with agent(state) as wait:
            assert plane.beats.wait(LIMIT)
            assert plane.polls.wait(LIMIT)
            assert set(far.proxy.passed) == {far.there}
            state.keep_way(Way(Proxy("127.0.0.1", other.port)))
            while not other.passed:
                plane.beats.clear()
                assert plane.beats.wait(LIMIT)
            plane.free.set()
            assert wait(stop=True) == EXIT_STOPPED


def test_it_outlives_a_control_plane_that_is_away(
    plane: Plane, state: AgentState, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.register(state)
    plane.beat = Answer(0)

    with agent(state) as wait:
        assert plane.beats.wait(LIMIT)
        plane.beats.clear()
        assert plane.beats.wait(LIMIT)
        plane.beat = Answer(200, {"interval": 0.05})
        for _ in range(2):
            plane.beats.clear()
            assert plane.beats.wait(LIMIT)
        assert wait(stop=True) == EXIT_STOPPED

    events = [line["event"] for line in lines(capsys)]
    assert events.count("unreachable") == 1
    assert events.count("reachable") == 1


def test_it_says_that_it_waits_for_a_registration(
    plane: Plane, state: AgentState, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent(state) as wait:
        plane.register(state)
        assert plane.beats.wait(LIMIT)
        assert wait(stop=True) == EXIT_STOPPED

    told = lines(capsys)
    assert [line["event"] for line in told].count("unregistered") <= 1
    assert {"time", "level", "event", "message"} <= set(told[0])


def test_an_identity_that_is_gone_is_wiped_and_the_process_ends(
    plane: Plane, state: AgentState, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.register(state)

    with agent(state) as wait:
        assert plane.beats.wait(LIMIT)
        plane.authority.deleted = True
        assert wait() == EXIT_IDENTITY_GONE

    assert state.registration() is None
    assert not (state.directory / "key.pem").exists()
    (gone,) = [line for line in lines(capsys) if line["event"] == "identity.gone"]
    assert gone["code"] == "AZSM0010"


def test_a_refusal_that_is_no_removal_wipes_nothing(plane: Plane, state: AgentState) -> None:
    plane.register(state)
    plane.beat = Answer(401, {"error": {"code": "invalid_token", "message": "no"}})

    with agent(state) as wait:
        for _ in range(3):
            plane.beats.clear()
            assert plane.beats.wait(LIMIT)
        assert wait(stop=True) == EXIT_STOPPED

    assert state.registration() is not None


def test_what_it_is_told_of_its_version_is_logged_once_and_kept_for_the_shell(
    plane: Plane, state: AgentState, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.register(state)
    told = Notice(AVAILABLE, "9.9.9", "There is a later version.")
    plane.beat = Answer(200, {"interval": 0.05, "notice": told.to_json()})

    def another_beat() -> None:
        for _ in range(2):
            plane.beats.clear()
            assert plane.beats.wait(LIMIT)

    with agent(state) as wait:
        another_beat()
        assert picture(state)["upgrade"] == told.message
        plane.beat = Answer(409, {"error": {"code": REQUIRED, "message": "It is too old."}})
        another_beat()
        another_beat()
        assert picture(state)["upgrade"] == "It is too old."
        plane.beat = Answer(200, {"interval": 0.05})
        another_beat()
        assert picture(state)["upgrade"] is None
        assert wait(stop=True) == EXIT_STOPPED

    seen = [(line["event"], line["level"]) for line in lines(capsys)]
    assert seen.count(("version.old", "warning")) == 1
    assert seen.count(("version.old", "error")) == 1
    assert seen.count(("version.served", "info")) == 1
    assert "unreachable" not in [event for event, _ in seen]


def test_a_refused_lease_is_heard_as_such(
    plane: Plane, state: AgentState, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.register(state)
    plane.beat = Answer(200, {"interval": 0.05})
    too_old = Answer(409, {"error": {"code": REQUIRED, "message": "It is too old."}})
    asked = threading.Semaphore(0)

    def lease(_request: Request) -> Answer:
        asked.release()
        return too_old

    plane.server.on("POST", "/agent/v1/leases", plane.authority.guard(lease))
    with agent(state, leases=1) as wait:
        assert asked.acquire(timeout=LIMIT)
        plane.beat = too_old
        for _ in range(2):
            assert asked.acquire(timeout=LIMIT)
        assert wait(stop=True) == EXIT_STOPPED

    told = [line for line in lines(capsys) if line["event"] in ("version.old", "unreachable")]
    assert [(line["event"], line["code"], line["message"]) for line in told] == [
        ("version.old", REQUIRED, "It is too old.")
    ]


def test_a_registration_that_is_removed_here_is_waited_for_again(plane: Plane, state: AgentState) -> None:
    plane.register(state)

    with agent(state) as wait:
        assert plane.beats.wait(LIMIT)
        state.forget()
        plane.register(state)
        plane.beats.clear()
        assert plane.beats.wait(LIMIT)
        assert wait(stop=True) == EXIT_STOPPED


def test_a_lease_on_what_is_not_allowed_goes_back_with_its_code(
    plane: Plane, state: AgentState, tmp_path: Path
) -> None:
    plane.register(state)
    place = Place("LocalMount", str(tmp_path))
    plane.grants = [Grant(Token("i", 1, 1, "l"), RunOrder("r", place, place, JobOptions()), Span(), 60.0)]

    with agent(state) as wait:
        assert plane.released.wait(LIMIT)
        assert wait(stop=True) == EXIT_STOPPED

    (release,) = plane.server.seen("/agent/v1/runs/r/release")
    assert release.json["code"] == "AZSM1007"


def test_a_thread_that_fails_ends_the_process(
    plane: Plane, state: AgentState, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.register(state)

    def broken(*_: object) -> dict[str, Any]:
        raise ZeroDivisionError

    monkeypatch.setattr("wherry.agent.facts.heartbeat", broken)
    with agent(state) as wait, pytest.raises(ZeroDivisionError):
        wait()


def test_it_meets_its_control_plane_by_fingerprint(plane: Plane, state: AgentState) -> None:
    plane.server.on("GET", "/ca.pem", Answer(200, plane.server.ca.certificate))

    with agent(state, url=plane.server.url, ca_fingerprint=fingerprint(plane.server.ca.certificate)) as wait:
        while state.server is None:
            threading.Event().wait(0.01)
        assert wait(stop=True) == EXIT_STOPPED

    assert state.server == plane.server.url


@pytest.mark.parametrize(
    "options",
    [{"url": "https://elsewhere.example"}, {"allow_source": (Path("/no/such/folder"),)}],
)
def test_options_that_make_no_sense_are_told(
    plane: Plane, state: AgentState, options: dict[str, Any]
) -> None:
    plane.register(state)

    with agent(state, **options) as wait, pytest.raises(UsageError):
        wait()


def test_no_secret_is_logged(plane: Plane, state: AgentState, capsys: pytest.CaptureFixture[str]) -> None:
    plane.register(state)

    with agent(state) as wait:
        assert plane.beats.wait(LIMIT)
        assert wait(stop=True) == EXIT_STOPPED

    said = capsys.readouterr().err
    assert "token-1" not in said
    assert "PRIVATE" not in said
