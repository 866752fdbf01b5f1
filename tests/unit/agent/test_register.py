"""Registration against a control plane that refuses, stalls and loses answers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tls_server import CLIENT, DROP, TENANT, Answer, Authority, Request, TlsServer
from wherry.agent.register import Step, Wanted, register
from wherry.agent.state import AgentState, InUse
from wherry.agent.unregister import unregister
from wherry.client.connection import Unreachable
from wherry.client.device_code import SignInFailed
from wherry.client.pinning import WrongFingerprint
from wherry.model.errors import ApiError, UsageError
from wherry.trust.authority import fingerprint
from wherry.trust.enrolment import AGENT_CLIENT_ID
from wherry.trust.keys import PublicKey

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
PENDING = Answer(400, {"error": "authorization_pending"})
CODE = {
    "user_code": "ABCD-EFGH",
    "device_code": "secret",
    "verification_uri": "https://mover.example/device",
    "expires_in": 600,
    "interval": 1,
    "match": "42",
}


class ControlPlane:
    """A device flow bound to a key, then one registration."""

    def __init__(self, server: TlsServer, authority: Authority) -> None:
        self.server, self.authority = server, authority
        self.polls: list[Answer] = []
        self.answers: list[Answer] = []
        server.on("GET", "/ca.pem", Answer(200, server.ca.certificate))
        server.on("POST", "/organizations/oauth2/v2.0/devicecode", self._proven(lambda _: Answer(200, CODE)))
        server.on("POST", "/organizations/oauth2/v2.0/token", self._proven(self._token))
        authority.tokens.append("enrolment")
        server.on("PUT", "/agent/v1/registration", authority.guard(self._register))

    def _proven(self, handler):
        def checked(request: Request) -> Answer:
            refused = self.authority.proven(request)
            if refused is None:
                return handler(request)
            return Answer(400, {"error": refused.body["error"]["code"]}, refused.headers)

        return checked

    def _token(self, _request: Request) -> Answer:
        if self.polls:
            return self.polls.pop(0)
        return Answer(200, {"access_token": "enrolment", "expires_in": 300, "token_type": "DPoP"})

    def _register(self, request: Request) -> Answer:
        if self.answers:
            return self.answers.pop(0)
        mover = request.json["mover"]
        return Answer(
            200,
            {
                "agentId": f"{mover}/agents/{request.json['agent']}",
                "machineId": "/machine",
                "principalId": "p",
                "clientId": CLIENT,
                "tenantId": TENANT,
                "tokenEndpoint": self.authority.token_endpoint,
                "issuer": self.authority.issuer,
                "heartbeatSeconds": 30,
            },
        )


@pytest.fixture
def plane(server: TlsServer, authority: Authority) -> ControlPlane:
    return ControlPlane(server, authority)


@pytest.fixture
def wanted(server: TlsServer) -> Wanted:
    return Wanted(
        SUBSCRIPTION,
        "group",
        "mover",
        "agent-1",
        server.url,
        ca_fingerprint=fingerprint(server.ca.certificate),
    )


def go(state: AgentState, wanted: Wanted) -> Iterator[Step]:
    return register(state, wanted, lambda _: None)


def changed(wanted: Wanted, **values: object) -> Wanted:
    from dataclasses import replace

    return replace(wanted, **values)  # type: ignore[arg-type]


def test_an_agent_registers_step_by_step(plane: ControlPlane, state: AgentState, wanted: Wanted) -> None:
    plane.polls = [PENDING, PENDING]

    steps = list(go(state, wanted))

    assert [step.name for step in steps] == ["trust", "connect", "key", "code", "approved", "registered"]
    shown = steps[3]
    assert shown.code is not None
    for told in ("https://mover.example/device", "ABCD-EFGH", "42", "agent-1"):
        assert told in shown.text
    assert "secret" not in " ".join(map(repr, steps))
    found = state.registration()
    assert found is not None
    assert found.agent_id.endswith("/storageMovers/mover/agents/agent-1")
    assert found.audience == f"{plane.server.url}/agent"


def test_what_is_asked_for_is_bound_to_the_key(
    plane: ControlPlane, state: AgentState, wanted: Wanted
) -> None:
    list(go(state, wanted))

    asked = plane.server.seen("/organizations/oauth2/v2.0/devicecode")[-1].form
    (detail,) = json.loads(asked["authorization_details"])
    assert asked["client_id"] == AGENT_CLIENT_ID
    assert (detail["agentName"], detail["type"]) == ("agent-1", "storagemover_agent")
    told = plane.server.seen("/agent/v1/registration")[-1].json
    assert PublicKey.from_jwk(told["key"]).thumbprint == state.key().thumbprint
    assert told["mover"] == detail["mover"]
    assert "d" not in told["key"]
    assert "tags" not in told


def test_tags_are_told_with_the_registration(plane: ControlPlane, state: AgentState, wanted: Wanted) -> None:
    list(go(state, changed(wanted, tags={"site": "north"})))

    assert plane.server.seen("/agent/v1/registration")[-1].json["tags"] == {"site": "north"}


def test_a_wrong_fingerprint_stops_before_anything_is_sent(
    plane: ControlPlane, state: AgentState, wanted: Wanted
) -> None:
    with pytest.raises(WrongFingerprint):
        list(go(state, changed(wanted, ca_fingerprint="00" * 32)))

    assert [request.path for request in plane.server.requests] == ["/ca.pem"]
    assert state.server is None
    assert not (state.directory / "key.pem").exists()


def test_a_file_will_do_instead_of_a_fingerprint(
    plane: ControlPlane, state: AgentState, wanted: Wanted
) -> None:
    list(go(state, changed(wanted, ca_fingerprint=None, ca_file=plane.server.ca_file)))

    assert state.registration() is not None
    assert plane.server.seen("/ca.pem") == []


def test_what_was_trusted_before_need_not_be_named_again(
    plane: ControlPlane, state: AgentState, wanted: Wanted
) -> None:
    state.trust_server(plane.server.url, plane.server.ca.certificate)

    list(go(state, changed(wanted, url=None, ca_fingerprint=None)))

    assert state.registration() is not None


@pytest.mark.parametrize(
    "values",
    [
        {"url": None},
        {"ca_fingerprint": None},
        {"url": "http://mover.example"},
        {"subscription": "s"},
        {"group": "a/b"},
        {"mover": "-"},
        {"agent": "a b"},
        {"agent": "x" * 65},
    ],
)
def test_what_makes_no_sense_is_told_at_once(
    plane: ControlPlane, state: AgentState, wanted: Wanted, values: dict[str, str | None]
) -> None:
    with pytest.raises(UsageError):
        list(go(state, changed(wanted, **values)))

    assert plane.server.requests == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(400, {"error": "authorization_declined", "error_description": "no"}), "denied"),
        (Answer(400, {"error": "expired_token"}), "expired"),
        (Answer(400, {"error": "invalid_grant", "error_description": "another key"}), "refused"),
    ],
)
def test_a_request_that_is_not_granted_leaves_nothing(
    plane: ControlPlane, state: AgentState, wanted: Wanted, answer: Answer, reason: str
) -> None:
    plane.polls = [PENDING, answer]

    with pytest.raises(SignInFailed) as caught:
        list(go(state, wanted))

    assert caught.value.reason == reason
    assert state.registration() is None
    assert plane.server.seen("/agent/v1/registration") == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "ResourceNotFound", "The storage mover is not there."),
        (409, "AgentExists", "There is an agent of that name."),
        (403, "AuthorizationFailed", "The approver may not."),
    ],
)
def test_a_registration_that_is_refused_leaves_nothing(
    plane: ControlPlane, state: AgentState, wanted: Wanted, status: int, code: str, words: str
) -> None:
    plane.answers = [Answer(status, {"error": {"code": code, "message": words}})]

    with pytest.raises(ApiError, match=words) as caught:
        list(go(state, wanted))

    assert caught.value.code == code
    assert state.registration() is None


def test_a_lost_answer_is_asked_for_again(
    plane: ControlPlane, state: AgentState, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.agent.register.pause", lambda _: 0.0)
    plane.answers = [DROP, Answer(503, headers={"Retry-After": "0"}), DROP]

    list(go(state, wanted))

    assert state.registration() is not None


def test_a_control_plane_that_is_gone_for_good_leaves_nothing(
    plane: ControlPlane, state: AgentState, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.agent.register.pause", lambda _: 0.0)
    plane.answers = [DROP] * 9

    with pytest.raises(Unreachable):
        list(go(state, wanted))

    assert state.registration() is None


def test_a_spent_approval_says_to_start_again(plane: ControlPlane, state: AgentState, wanted: Wanted) -> None:
    plane.authority.tokens.clear()

    with pytest.raises(ApiError, match="Start again"):
        list(go(state, wanted))


def test_interrupted_while_waiting_nothing_is_left(
    plane: ControlPlane, state: AgentState, wanted: Wanted
) -> None:
    def press(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(register(state, wanted, press))

    assert state.registration() is None
    list(go(state, wanted))
    assert state.registration() is not None


def test_the_last_step_is_not_interrupted(
    plane: ControlPlane, state: AgentState, wanted: Wanted, server: TlsServer
) -> None:
    def slow(request: Request) -> Answer:
        os.kill(os.getpid(), signal.SIGINT)
        return plane._register(request)

    server.on("PUT", "/agent/v1/registration", plane.authority.guard(slow))

    steps = list(go(state, wanted))

    assert steps[-1].name == "registered"
    assert state.registration() is not None


def test_an_interrupt_in_a_last_step_that_fails_counts(
    plane: ControlPlane, state: AgentState, wanted: Wanted, server: TlsServer
) -> None:
    def refuse(request: Request) -> Answer:
        os.kill(os.getpid(), signal.SIGINT)
        return Answer(409, {"error": {"code": "AgentExists", "message": "no"}})

    server.on("PUT", "/agent/v1/registration", plane.authority.guard(refuse))

    with pytest.raises(KeyboardInterrupt):
        list(go(state, wanted))


def test_a_registered_agent_does_not_register_again(
    plane: ControlPlane, state: AgentState, wanted: Wanted
) -> None:
    list(go(state, wanted))

    with pytest.raises(UsageError, match=r"already registered as .*Unregister it first"):
        list(go(state, wanted))


def test_two_registrations_at_once_are_one_too_many(
    plane: ControlPlane, state: AgentState, wanted: Wanted
) -> None:
    first = go(state, wanted)
    next(first)

    with pytest.raises(InUse):
        list(go(AgentState(state.directory), wanted))
    first.close()  # type: ignore[attr-defined]
    list(go(state, wanted))


@pytest.mark.parametrize("deleted", [False, True])
def test_an_agent_unregisters_and_is_as_new(
    plane: ControlPlane, state: AgentState, wanted: Wanted, deleted: bool
) -> None:
    list(go(state, wanted))
    before = state.key()
    plane.authority.agent_tokens(before)
    plane.server.on("DELETE", "/agent/v1/registration", plane.authority.guard(Answer(204)))
    plane.authority.deleted = deleted

    steps = list(unregister(state))

    assert steps[-1].name == "unregistered"
    assert state.registration() is None
    assert state.key().thumbprint != before.thumbprint
    with pytest.raises(UsageError, match="is not registered"):
        list(unregister(state))


def test_what_the_control_plane_did_not_do_changes_nothing(
    plane: ControlPlane, state: AgentState, wanted: Wanted
) -> None:
    list(go(state, wanted))
    plane.authority.agent_tokens(state.key())
    plane.server.on("DELETE", "/agent/v1/registration", plane.authority.guard(Answer(500)))

    with pytest.raises(ApiError):
        list(unregister(state))
    assert state.registration() is not None

    list(unregister(state, local_only=True))
    assert state.registration() is None


def test_a_key_that_was_used_before_is_replaced(
    plane: ControlPlane, state: AgentState, wanted: Wanted
) -> None:
    before = state.key().thumbprint
    plane.answers = [Answer(409, {"error": {"code": "KeyInUse", "message": "This key is known."}})]

    with pytest.raises(ApiError, match="Start again"):
        list(go(state, wanted))

    assert state.key().thumbprint != before
    list(go(state, wanted))
    assert state.registration() is not None


def test_another_directory_is_another_agent(
    plane: ControlPlane, state: AgentState, wanted: Wanted, tmp_path: Path
) -> None:
    other = AgentState(tmp_path / "other")

    list(go(state, wanted))
    list(go(other, changed(wanted, agent="agent-2")))

    assert other.key().thumbprint != state.key().thumbprint
