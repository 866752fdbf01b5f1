"""The agent's state directory: private, whole, one agent at a time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from wherry.agent.state import AgentState, InUse, Registration, default_directory
from wherry.model.errors import UsageError

REGISTRATION = Registration(
    url="https://mover.example",
    mover="/subscriptions/s/m",
    agent="a",
    agent_id="/subscriptions/s/m/agents/a",
    machine_id="/machine",
    principal_id="p",
    client_id="c",
    tenant_id="t",
    token_endpoint="https://mover.example/t/oauth2/v2.0/token",
    issuer="https://mover.example/t/v2.0",
    heartbeat_seconds=30.0,
)


def test_the_key_is_made_once_and_only_its_owner_reads_it(state: AgentState) -> None:
    first = state.key().thumbprint

    assert AgentState(state.directory).key().thumbprint == first
    assert state.directory.stat().st_mode & 0o777 == 0o700
    assert (state.directory / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_may_read_is_refused(state: AgentState) -> None:
    state.key()
    (state.directory / "key.pem").chmod(0o644)

    with pytest.raises(UsageError, match="may be read by others"):
        state.key()


def test_a_registration_is_kept_as_it_was(state: AgentState) -> None:
    assert state.registration() is None
    assert state.identity() is None

    state.keep_registration(REGISTRATION)

    assert AgentState(state.directory).registration() == REGISTRATION
    identity = state.identity()
    assert identity is not None
    assert identity.audience == "https://mover.example/agent"
    assert identity.kept.key().thumbprint == state.key().thumbprint


def test_forgetting_wipes_the_key_and_keeps_the_trust(state: AgentState) -> None:
    state.trust_server("https://mover.example", b"pem")
    before = state.key().thumbprint
    state.keep_registration(REGISTRATION)

    state.forget()

    assert state.registration() is None
    assert state.server == "https://mover.example"
    assert state.key().thumbprint != before


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"url": 1, "what": 2}'])
def test_a_damaged_registration_is_named(state: AgentState, text: str) -> None:
    (state.directory / "registration.json").write_text(text)

    with pytest.raises(UsageError, match=r"registration\.json is damaged"):
        state.registration()


def test_only_one_process_is_the_agent(state: AgentState) -> None:
    with (
        state.alone("run"),
        AgentState(state.directory).alone("register"),
        pytest.raises(InUse, match=f"Process {os.getpid()}"),
        AgentState(state.directory).alone("run"),
    ):
        pass
    with state.alone("run"):
        pass


def test_a_machine_without_a_number_gets_one(state: AgentState) -> None:
    assert state.machine_id() == AgentState(state.directory).machine_id()


def test_the_directory_is_where_the_system_keeps_such_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_directory({}) == Path("/var/lib/wherry-agent")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_directory({"XDG_STATE_HOME": "/s"}) == Path("/s/wherry/agent")
    assert default_directory({}) == Path("~/.local/state/wherry/agent").expanduser()


def test_another_registration_is_another(state: AgentState) -> None:
    state.keep_registration(REGISTRATION)
    state.keep_registration(replace(REGISTRATION, client_id="d"))

    assert state.registration() != REGISTRATION
