"""One agent, one identity, with a served control plane and real agents: copies, new keys, ways back in and out."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agents import Administrator, daemon, name_for, until
from tests.integration.served import serving
from tests.small_disk import Mount, full, small
from wherry.agent.admin_password import AdminPassword, Verdict
from wherry.agent.register import register, wanted_again
from wherry.agent.state import AgentState
from wherry.agent.unregister import unregister
from wherry.client.agent_protocol import AgentProtocol
from wherry.client.proven import IdentityGone
from wherry.model.errors import ApiError, UsageError

__all__ = ["small"]
YEAR = 366 * 86400.0
PASSWORD = "carry the boat over 7"


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administrator]:
    folder = tmp_path_factory.mktemp("plane")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHERRY_SETTING_HEARTBEAT_SECONDS", "0.2")
        with serving(folder / "state") as served:
            administrator = Administrator(served, folder / "config")
            yield administrator
            administrator.close()


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")


def age(admin: Administrator, state: AgentState, days: float) -> None:
    """Make the agent's key older."""
    database = sqlite3.connect(admin.served.state / "wherry.db", timeout=20)
    with database:
        change = (
            "UPDATE agent_keys SET created_at = created_at - ?, expires_at = expires_at - ? WHERE jkt = ?"
        )
        done = database.execute(change, (days * 86400, days * 86400, state.key().thumbprint))
        assert done.rowcount == 1
    database.close()


def beat(state: AgentState, **options: Any) -> float:
    identity = state.identity()
    assert identity is not None
    protocol = AgentProtocol(identity, **options)
    try:
        return protocol.heartbeat({"version": "1"})
    finally:
        protocol.close()


def again(admin: Administrator, state: AgentState) -> None:
    admin.follow(register(state, wanted_again(state), lambda _: time.sleep(0.05), again=True))


def job_of(admin: Administrator, mover: str) -> str:
    """A job definition of the mover's agent."""
    for name in ("source", "target"):
        properties = {"endpointType": "LocalMount", "path": f"/srv/{name}"}
        admin.api.put(f"{mover}/endpoints/{name}", {"properties": properties})
    admin.api.put(f"{mover}/projects/p", {"properties": {}})
    job = f"{mover}/projects/p/jobDefinitions/j"
    properties = {
        "copyMode": "Additive",
        "sourceName": "source",
        "targetName": "target",
        "agentName": name_for(mover),
    }
    admin.api.put(job, {"properties": properties})
    return job


def test_attack_39_a_copied_disk_is_noticed_and_the_agent_comes_back_by_consent(
    admin: Administrator, state: AgentState, tmp_path: Path
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    job = job_of(admin, mover)
    assert admin.agent(mover)["wherry"]["identity"] == "Active"
    shutil.copytree(state.directory, tmp_path / "copy")
    copy = AgentState(tmp_path / "copy")
    with daemon(state, poll_seconds=0.5) as running:
        until(lambda: admin.agent(mover).get("uptimeInSeconds"))
        with pytest.raises(ApiError) as caught:
            beat(copy)
        assert caught.value.code == "identity_locked"
        told = until(lambda: (now := admin.agent(mover))["agentStatus"] == "RequiresAttention" and now)
        assert (told["wherry"]["identity"], told["errorDetails"]["code"]) == ("Locked", "AZSM0011")
        assert "join state" in told["wherry"]["lockReason"]
        with pytest.raises(ApiError) as caught:
            beat(state)
        assert caught.value.code == "identity_locked"
        before = state.registration()

        again(admin, state)

        until(
            lambda: (
                admin.agent(mover)["agentStatus"] == "Online" and admin.agent(mover).get("uptimeInSeconds")
            )
        )
        running.stopping.set()
        assert running.wait() == 0
    after = state.registration()
    assert before is not None
    assert after is not None
    assert after.agent_id == before.agent_id
    assert after.principal_id != before.principal_id
    told = admin.agent(mover)
    assert "errorDetails" not in told
    assert told["wherry"]["identity"] == "Active"
    assert admin.api.get(job)["properties"]["agentName"] == name_for(mover)
    with pytest.raises(IdentityGone):
        beat(copy)


def test_attack_41_an_agent_whose_key_has_expired_is_registered_again(
    admin: Administrator, state: AgentState
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    beat(state)
    old = state.key().thumbprint
    age(admin, state, 31)
    with pytest.raises(ApiError) as caught:
        beat(state)
    assert caught.value.code == "identity_expired"
    told = admin.agent(mover)
    assert (told["agentStatus"], told["wherry"]["identity"]) == ("RequiresAttention", "Expired")
    assert told["errorDetails"]["code"] == "AZSM0012"

    again(admin, state)

    assert beat(state) > 0
    assert state.key().thumbprint != old
    assert admin.agent(mover)["wherry"]["identity"] == "Active"


def test_a_key_is_changed_when_half_of_its_life_is_over(admin: Administrator, state: AgentState) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    beat(state)
    old = state.key().thumbprint
    age(admin, state, 17)

    with daemon(state, poll_seconds=0.5) as running:
        told = until(lambda: (now := admin.agent(mover))["wherry"]["key"] != old and now)
        until(lambda: {path.name for path in state.directory.glob("key*")} == {"key.pem"})
        until(lambda: admin.agent(mover).get("uptimeInSeconds"))
        running.stopping.set()
        assert running.wait() == 0

    assert state.key().thumbprint == told["wherry"]["key"]
    assert admin.agent(mover)["wherry"]["identity"] == "Active"
    assert beat(state) > 0


def test_a_registration_in_force_is_not_replaced(
    admin: Administrator, state: AgentState, tmp_path: Path
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    with pytest.raises(ApiError) as caught:
        again(admin, state)
    assert caught.value.code == "AgentExists"
    assert beat(state) > 0


@pytest.mark.parametrize("offset", [-YEAR, YEAR])
def test_attack_42_an_agent_whose_clock_is_a_year_off_registers_and_works(
    admin: Administrator, state: AgentState, offset: float
) -> None:
    mover = admin.mover()

    def clock() -> float:
        return time.time() + offset

    admin.follow(register(state, admin.wanted(mover), lambda _: time.sleep(0.05), clock))

    assert beat(state, clock=clock) > 0


def test_an_agent_that_was_offline_wipes_itself_when_it_comes_back(
    admin: Administrator, state: AgentState
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    beat(state)
    assert admin.api.delete(f"{mover}/agents/{name_for(mover)}")

    with daemon(state, poll_seconds=0.5) as running:
        assert running.wait() == 4

    assert state.registration() is None
    assert not list(state.directory.glob("key*"))
    assert not (state.directory / "join.json").exists()
    admin.register(state, mover)
    assert beat(state) > 0


def test_a_locked_agent_that_is_unregistered_wipes_itself(
    admin: Administrator, state: AgentState, tmp_path: Path
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    shutil.copytree(state.directory, tmp_path / "copy")
    beat(state)
    with pytest.raises(ApiError):
        beat(AgentState(tmp_path / "copy"))
    with daemon(state, poll_seconds=0.5) as running:
        assert admin.api.delete(f"{mover}/agents/{name_for(mover)}")
        assert running.wait() == 4
    assert state.registration() is None


def test_without_its_machine_an_agent_needs_attention_and_can_go_or_come_back(
    admin: Administrator, state: AgentState
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    known = state.registration()
    assert known is not None
    admin.api.delete(known.machine_id)
    told = admin.agent(mover)
    assert (told["agentStatus"], told["errorDetails"]["code"]) == ("RequiresAttention", "AZSM0010")
    assert told["wherry"] == {"identity": "Gone"}
    with pytest.raises(IdentityGone):
        beat(state)

    again(admin, state)
    assert admin.agent(mover)["agentStatus"] == "Online"
    admin.api.delete(state.registration().machine_id)  # type: ignore[union-attr]
    assert [step.name for step in unregister(state)] == ["connect", "unregistered"]
    assert admin.api.delete(f"{mover}/agents/{name_for(mover)}")
    with pytest.raises(ApiError) as gone:
        admin.agent(mover)
    assert gone.value.status == 404
    admin.register(state, mover)
    assert beat(state) > 0


def test_a_full_disk_is_told_and_outlived(
    admin: Administrator, small: Mount, capfd: pytest.CaptureFixture[str]
) -> None:
    """No token is used that could not be shown to be followed, nothing ends, and the agent goes on by itself."""
    mover, disk = admin.mover(), small("disk")
    state = AgentState(disk / "agent")
    admin.register(state, mover)
    AdminPassword(state.directory).change(PASSWORD)
    said = ""

    def told(what: str) -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return what in said

    with full(disk), daemon(state, poll_seconds=0.5) as running:
        until(lambda: told("No space left on device"))
        running.stopping.set()
        assert running.wait() == 0
    with full(disk), daemon(state, poll_seconds=0.5) as running:
        said = ""
        until(lambda: told("The agent's state cannot be written: No space left on device. Make room"))
        assert running.thread.is_alive()
        assert AdminPassword(state.directory).verdict("admin", PASSWORD, network=True) is Verdict.SHELL
        os.truncate(disk / "filler", 0)
        until(lambda: admin.agent(mover).get("uptimeInSeconds"))
        assert told('"reachable"')
        running.stopping.set()
        assert running.wait() == 0
    assert "Traceback" not in said
    assert beat(state) > 0


def test_what_cannot_be_kept_on_a_full_disk_is_given_back(admin: Administrator, small: Mount) -> None:
    mover, disk = admin.mover(), small("disk")
    state = AgentState(disk / "agent")
    state.key()
    state.machine_id()

    def follow() -> None:
        for step in register(state, admin.wanted(mover), lambda _: time.sleep(0.05)):
            if step.code is not None:
                filled.enter_context(full(disk))
                admin._approve(step.code)

    with ExitStack() as filled, pytest.raises(UsageError, match="Make room, and start again"):
        follow()
    assert state.registration() is None
    with pytest.raises(ApiError) as nothing:
        admin.agent(mover)
    assert nothing.value.status == 404
    admin.register(state, mover)
    assert beat(state) > 0
