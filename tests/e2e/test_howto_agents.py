"""What the how-to of agents shows works: its commands are run as they stand, approved where a person is asked."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.e2e.shell import Shell
from tests.integration.agents import daemon
from wherry.agent.register import Step
from wherry.agent.state import AgentState
from wherry.cli import agent_machine
from wherry.cli.connected import session
from wherry.client import device_code
from wherry.control import breakglass

REDEEM: Callable[..., Any] = device_code.redeem
TAGS = "properties.wherry.tags"
HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "agents.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("agents"))
    with shell.serving():
        shell.approved("login", name="login")
        yield shell


def expire(shell: Shell) -> None:
    """Let the agent's key be as old as that of one that was away for long."""
    jkt = AgentState(shell.folder / "agent").key().thumbprint
    with closing(sqlite3.connect(shell.state / "wherry.db", timeout=20)) as database, database:
        done = database.execute("UPDATE agent_keys SET expires_at = 1 WHERE jkt = ?", (jkt,))
        assert done.rowcount == 1


def approved(shell: Shell, *words: str) -> None:
    """Run a command that shows a code, and approve it as soon as it does; nobody waits for the next poll."""

    def follow(steps: Iterator[Step]) -> None:
        for step in steps:
            if step.code is not None:
                breakglass.approve(shell.state, step.code.user_code)

    def redeem(*given: Any) -> Any:
        return REDEEM(*given[:-1], lambda _seconds: None)

    with (
        mock.patch.object(agent_machine, "follow", follow),
        mock.patch.object(device_code, "redeem", redeem),
    ):
        shell.run(*words)


def test_each_command_works_as_it_is_told(shell: Shell) -> None:
    printed: dict[str, str] = {}
    for line in "".join(BLOCK.findall(HOW_TO.read_text())).splitlines():
        if line.startswith("export "):
            shell.environment |= dict(word.split("=") for word in line.split()[1:])
            continue
        # The network of the text is not the one of this machine.
        told = re.sub(r"\$(\w+)", lambda found: shell.environment[found[1]], line)
        words = shlex.split(told.replace("10.20.0.0/16", "127.0.0.0/8"))[1:]
        if words[:2] == ["agent", "re-enrol"]:
            expire(shell)
            stale = shell.run("agent", "show", "--name", "agent-1", "--query", "properties.wherry.identity")
            assert stale.data == "Expired"
        if words[:2] in (["agent", "register"], ["agent", "re-enrol"]):
            approved(shell, *words)
            printed[line] = ""
            if "agent-1" in words or words[1] == "re-enrol":
                printed[line] = shell.run("agent", "show", "--name", "agent-1", "--query", TAGS).out
        elif words[:2] == ["agent", "request-bundle"]:
            # Asked for before the agent's first heartbeat, so that nobody waits for the second.
            shell.run(*words[: words.index("--wait")])
            with daemon(AgentState(shell.folder / "agent")):
                printed[line] = shell.run(*words).out
        else:
            printed[line] = shell.run(*words).out

    tags = {
        json.loads(told)["site"] for line, told in printed.items() if "re-enrol" in line or "--tags" in line
    }
    assert tags == {"north"}
    assert '"Ready"' in next(told for line, told in printed.items() if "request-bundle" in line)
    with tarfile.open(shell.folder / "bundle.tar.gz") as archive:
        assert any(name.endswith("/own/health.json") for name in archive.getnames())
    assert '"Active"' in printed["wherry agent show --name agent-1 --query properties.wherry"]
    scope = "wherry agent show --name agent-2 --query properties.wherry.privateLinkScopeResourceId"
    assert printed[scope].strip().endswith('privateLinkScopes/site"')
    assert shell.run("private-link-scope", "list").data == []
    assert shell.run("agent", "list", "--query", "[].name").data == []


def test_scopes_and_connections_by_command(shell: Shell) -> None:
    at = ("--resource-group", "lab")
    shell.run("group", "create", "--name", "lab")
    made = shell.run(
        "private-link-scope", "create", "--name", "hq", "--public-network-access", "Enabled", *at
    ).data
    assert made["properties"]["publicNetworkAccess"] == "Enabled"
    refused = shell.run(
        "private-link-scope", "connection", "add", "--name", "hq", "--connection", "c", "--network", "8.8.8.0/24", *at,
        code=1,
    )  # fmt: skip
    assert "not private" in refused.err
    add = (
        "private-link-scope",
        "connection",
        "add",
        "--name",
        "hq",
        "--connection",
        "c",
        "--network",
        "10.0.0.0/8",
    )
    shell.run(*add, *at)
    listed = shell.run(
        "private-link-scope", "connection", "list", "--name", "hq", *at, "--output", "table"
    ).out
    assert "10.0.0.0/8" in listed
    shown = shell.run("private-link-scope", "show", "--name", "hq", *at).data
    assert [one["name"] for one in shown["properties"]["privateEndpointConnections"]] == ["c"]
    shell.run("private-link-scope", "connection", "remove", "--name", "hq", "--connection", "c", "--yes", *at)
    shell.run("private-link-scope", "delete", "--name", "hq", "--yes", *at)
    assert shell.run("private-link-scope", "list", *at).data == []


def test_what_cannot_be_registered_again_is_told(shell: Shell, tmp_path: Path) -> None:
    answer = shell.run("agent", "re-enrol", "--state", str(tmp_path / "nobody"), code=2)
    assert "not registered" in answer.err


def test_limits_of_an_agent_are_taken_from_another(shell: Shell) -> None:
    shell.run("group", "create", "--name", "lab")
    shell.run("mover", "create", "--resource-group", "lab", "--name", "mover")
    shell.environment |= {"WHERRY_GROUP": "lab", "WHERRY_MOVER": "mover"}
    with mock.patch.dict(os.environ, shell.environment, clear=True), session("lab", "mover") as here:
        for name in ("one", "other"):
            path = here.at.of_mover("agents", name)
            machine = f"{path.partition('/providers/')[0]}/providers/Microsoft.HybridCompute/machines/{name}"
            told = {"arcResourceId": machine, "arcVmUuid": "00000000-0000-0000-0000-000000000007"}
            here.api.put(path, {"properties": told})
    limit = ("agent", "limit")
    shell.run(*limit, "add", "--name", "one", "--days", "sat", "--to", "6:30", "--mbps", "7")
    shell.run(*limit, "add", "--name", "other", "--mbps", "1", "--time-zone", "Asia/Tokyo")
    crossed = shell.run(*limit, "add", "--name", "other", "--mbps", "2", code=1)
    assert "overlaps" in crossed.err
    taken = shell.run(*limit, "import", "--name", "other", "--from-agent", "one").data
    (window,) = shell.run(*limit, "list", "--name", "other").data
    assert taken == [window]
    assert (window["days"], window["endTime"], window["limitInMbps"]) == (
        ["Saturday"],
        {"hour": 6, "minute": 30},
        7,
    )
    shell.run(*limit, "clear", "--name", "one")
    assert shell.run(*limit, "list", "--name", "one").data == []
    for name in ("one", "other"):
        shell.run("agent", "delete", "--name", name, "--yes")
