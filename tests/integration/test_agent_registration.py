"""An agent's life from registration to removal, with a served control plane and no part of it replaced."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.agents import Administrator, daemon, name_for, until
from tests.integration.served import serving
from wherry.agent.register import register
from wherry.agent.shell.host_key import fingerprint
from wherry.agent.state import AgentState
from wherry.agent.unregister import unregister
from wherry.client.agent_protocol import AgentProtocol
from wherry.client.device_code import SignInFailed
from wherry.client.pinning import WrongFingerprint
from wherry.client.proven import IdentityGone, InMemory
from wherry.model.errors import ApiError, WherryError

DAEMON = """
import sys
from pathlib import Path
from wherry.agent.daemon import Options, run
from wherry.agent.state import AgentState
sys.exit(run(AgentState(Path(sys.argv[1])), Options(workers=0)))
"""


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administrator]:
    folder = tmp_path_factory.mktemp("plane")
    with serving(folder / "state") as served:
        administrator = Administrator(served, folder / "config")
        yield administrator
        administrator.close()


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")


def test_an_agent_registers_and_is_there(admin: Administrator, state: AgentState) -> None:
    mover = admin.mover()

    steps = admin.register(state, mover)

    assert [step.name for step in steps] == ["trust", "connect", "key", "code", "approved", "registered"]
    told = admin.agent(mover)
    found = state.registration()
    assert found is not None
    assert told["arcResourceId"].lower() == found.machine_id.lower()
    assert told["agentVersion"]
    assert admin.api.get(found.machine_id)["properties"]


def test_its_heartbeats_are_seen(admin: Administrator, state: AgentState) -> None:
    mover = admin.mover()
    wanted = replace(admin.wanted(mover), tags={"site": "north"})
    admin.follow(register(state, wanted, lambda _: time.sleep(0.05)))
    shown = fingerprint(state)

    with daemon(state) as running:
        told = until(lambda: (seen := admin.agent(mover)).get("uptimeInSeconds") and seen)
        assert (told["wherry"]["sshHostKey"], told["wherry"]["tags"]) == (shown, {"site": "north"})
        assert admin.api.get(told["arcResourceId"])["tags"] == {"site": "north"}
        assert told["agentStatus"] == "Online"
        assert told["localIPAddress"] == "127.0.0.1"
        assert told["memoryInMB"] > 0
        running.stopping.set()
        assert running.wait() == 0


def test_an_agent_that_is_not_registered_waits_and_then_works(
    admin: Administrator, state: AgentState
) -> None:
    mover = admin.mover()

    with daemon(state, url=admin.served.url, ca_fingerprint=admin.fingerprint) as running:
        until(lambda: state.server)
        admin.register(state, mover)
        until(lambda: admin.agent(mover).get("uptimeInSeconds"))
        running.stopping.set()
        assert running.wait() == 0


def test_an_agent_that_is_deleted_wipes_itself(admin: Administrator, state: AgentState) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    before = state.key().thumbprint

    with daemon(state, poll_seconds=1.0) as running:
        until(lambda: admin.agent(mover).get("uptimeInSeconds"))
        assert admin.api.delete(f"{mover}/agents/{name_for(mover)}")
        assert running.wait() == 4

    assert state.registration() is None
    assert not (state.directory / "key.pem").exists()
    admin.register(state, mover)
    assert state.key().thumbprint != before


def test_an_agent_unregisters_itself(admin: Administrator, state: AgentState) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    identity = state.identity()
    assert identity is not None
    identity = replace(identity, kept=InMemory(state.key()))

    with daemon(state) as running:
        until(lambda: admin.agent(mover).get("uptimeInSeconds"))
        assert [step.name for step in unregister(state)] == ["connect", "unregistered"]
        until(lambda: state.registration() is None)
        running.stopping.set()
        assert running.wait() in {0, 4}

    with pytest.raises(ApiError) as gone:
        admin.agent(mover)
    assert gone.value.status == 404
    protocol = AgentProtocol(identity)
    with pytest.raises(IdentityGone):
        protocol.heartbeat({})
    protocol.close()


def test_a_wrong_fingerprint_is_refused(admin: Administrator, state: AgentState) -> None:
    wanted = replace(admin.wanted(admin.mover()), ca_fingerprint="ab" * 32)

    with pytest.raises(WrongFingerprint):
        list(register(state, wanted))


@pytest.mark.parametrize("values", [{"mover": "no-such-thing"}, {"group": "no-such-thing"}])
def test_what_is_not_there_is_named(admin: Administrator, state: AgentState, values: dict[str, str]) -> None:
    wanted = replace(admin.wanted(admin.mover()), **values)  # type: ignore[arg-type]

    with pytest.raises((ApiError, SignInFailed), match="no-such-thing"):
        admin.follow(register(state, wanted, lambda _: time.sleep(0.05)))

    assert state.registration() is None


def test_a_name_that_is_taken_is_told(admin: Administrator, state: AgentState, tmp_path: Path) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    other = AgentState(tmp_path / "other")

    with pytest.raises((ApiError, SignInFailed)) as caught:
        admin.register(other, mover, name_for(mover).upper())

    assert name_for(mover) in str(caught.value).lower()
    assert other.registration() is None
    admin.register(other, mover, f"{name_for(mover)}-b")
    assert other.registration() is not None


def test_a_placeholder_is_filled_by_a_registration(admin: Administrator, state: AgentState) -> None:
    mover = admin.mover()
    machine = f"{admin.group}/providers/Microsoft.HybridCompute/machines/other"
    vm = "00000000-0000-0000-0000-00000000000a"
    body = {"properties": {"arcResourceId": machine, "arcVmUuid": vm, "description": "to come"}}
    admin.api.put(f"{mover}/agents/{name_for(mover)}", body)
    assert admin.agent(mover)["agentStatus"] == "Registering"

    admin.register(state, mover)

    assert admin.agent(mover)["agentStatus"] != "Registering"


def test_a_code_that_nobody_approves_is_not_waited_for_for_ever(
    admin: Administrator, state: AgentState
) -> None:
    wanted = admin.wanted(admin.mover())
    polls = 0

    def tired(_seconds: float) -> None:
        nonlocal polls
        polls += 1
        if polls > 3:
            raise KeyboardInterrupt
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        list(register(state, wanted, tired))

    assert state.registration() is None
    with pytest.raises(ApiError):
        admin.agent(f"{admin.group}/providers/Microsoft.StorageMover/storageMovers/{wanted.mover}")


def test_a_clock_that_is_wrong_does_not_keep_an_agent_out(admin: Administrator, state: AgentState) -> None:
    admin.register(state, admin.mover())
    identity = state.identity()
    assert identity is not None

    for offset in (-7200.0, 7200.0):
        protocol = AgentProtocol(identity, lambda: time.time() + offset)  # noqa: B023 - used in this turn only
        assert protocol.heartbeat({"version": "1"}) > 0
        protocol.close()


def test_the_process_ends_at_once_when_told_to(admin: Administrator, state: AgentState) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    process = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(state.directory)], stderr=subprocess.PIPE, text=True
    )
    try:
        until(lambda: admin.agent(mover).get("uptimeInSeconds"))
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()

    assert process.returncode == 0, said
    assert time.monotonic() - before < 5
    assert '"event": "stopped"' in said
    for line in said.splitlines():
        assert line.startswith("{"), said


def test_a_daemon_does_not_start_on_a_state_that_another_uses(state: AgentState) -> None:
    with state.alone("run"), daemon(AgentState(state.directory)) as second:
        with pytest.raises(WherryError, match="already uses"):
            second.wait()
        second.trouble = None
