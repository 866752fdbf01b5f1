"""Agents upgrade themselves: from a signed package, in the middle of a run, and back again when the program fails."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wherry
from tests.e2e.conftest import Place
from tests.e2e.shell import Shell
from tests.site import Agent, Site, assert_same
from wherry.model.versions import Version
from wherry.trust.keys import PrivateKey
from wherry.trust.packages import write_publisher

NOW = Version.parse(wherry.__version__)
GOOD = str(NOW._replace(patch=NOW.patch + 1))
OLD = "0.0.9"
FILES = 400
HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "upgrade-agents.md"
BAD = str(NOW._replace(patch=NOW.patch + 2))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Offers are told with heartbeats."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHERRY_SETTING_HEARTBEAT_SECONDS", "0.5")
        yield


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def program(folder: Path, version: str, line: str = "") -> Path:
    """A program of this version: ours, with a line more where it begins."""
    tree = folder / f"program-{version}"
    shutil.copytree(
        Path(wherry.__file__).parent, tree / "wherry", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tree / "wherry" / "__init__.py").write_text(f'__version__ = "{version}"\n{line}\n')
    return tree


def test_an_agent_becomes_what_is_offered_and_what_fails_is_taken_back(
    here: Site, place: Place, shell: Shell, tmp_path: Path
) -> None:
    plane = ("--state", str(here.served.state))
    make(shell, tmp_path)
    for number in range(FILES):
        (place.source / f"file-{number}").write_bytes(b"x" * number)
    agent = here.agent()
    agent.more = ("--publisher", str(tmp_path / "publisher.pub"))
    agent.start(place.source.parent, workers=1)
    try:
        job = here.job(place.source, place.target, agent, wherry={"requestsPerSecond": FILES // 4})
        run = job.start()
        job.await_run(lambda found: found["status"] == "Running")
        shell.run(*shown("offer", here.served.state))
        here.until(lambda: agent.lines("upgrade.done", version=GOOD), 60)
        assert told(here, agent)["agentVersion"] == GOOD
        assert agent.lines("lease.release", run=run, code=""), "it did not give back what it was at"
        job.end()
        job.assert_each_once(FILES)
        assert_same(place.source, place.target)

        shell.run("package", "offer", f"wherry-agent-{BAD}.wherry", *plane)
        here.until(lambda: agent.lines("upgrade.failed", version=BAD), 60)
        here.until(lambda: told(here, agent).get("errorDetails"))
        assert told(here, agent)["errorDetails"]["code"] == "AZSM0004"
        assert told(here, agent)["agentVersion"] == GOOD
        assert agent.stop() == 0
    finally:
        agent.end()
    assert shell.run(*shown("list", here.served.state)).data == [{"version": BAD}, {"version": GOOD}]
    shell.run(*shown("withdraw", here.served.state))
    shell.run("package", "withdraw", GOOD, "--yes", *plane, code=2)
    assert shell.run("package", "list", *plane).data == [{"version": BAD}]


@pytest.mark.long
def test_an_agent_that_is_too_old_gets_no_work_but_the_program_that_helps_it(
    here: Site, place: Place, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(shell, tmp_path)
    plane = ("--state", str(here.served.state))
    for other in shell.run("package", "list", *plane).data:
        shell.run("package", "withdraw", other["version"], "--yes", *plane)
    monkeypatch.setenv("PYTHONPATH", str(program(tmp_path, OLD)), prepend=os.pathsep)
    (place.source / "file").write_bytes(b"x")
    agent = here.agent()
    agent.more = ("--publisher", str(tmp_path / "publisher.pub"))
    agent.start(place.source.parent, workers=1)
    try:
        here.until(lambda: agent.lines("version.old", code="AZSM0006"), 60)
        seen = here.until(lambda: (now := told(here, agent))["agentStatus"] == "RequiresAttention" and now)
        assert (seen["agentVersion"], seen["wherry"]["upgrade"]["standing"]) == (OLD, "Required")
        job = here.job(place.source, place.target, agent)
        job.start()
        shell.run(*shown("offer", here.served.state))
        here.until(lambda: agent.lines("upgrade.done", version=GOOD), 60)
        job.end()
        job.assert_each_once(1)
        assert told(here, agent)["agentVersion"] == GOOD
        assert agent.stop() == 0
    finally:
        agent.end()


def make(shell: Shell, folder: Path) -> None:
    """Two packages by the commands of the how-to; the program of one does not start."""
    shell.run(*shown("key", folder))
    for version, line in ((BAD, 'raise SystemExit("broken")'), (GOOD, "")):
        program(folder, version, line).rename(folder / "program")
        shell.run(*shown("build", folder))
        (folder / "program").rename(folder / f"done-{version}")
    assert shell.run(*shown("show", folder)).data["version"] == GOOD
    shell.run("package", "build", "program", "--key", "publisher", code=2)
    forged = PrivateKey.for_agent().public
    (folder / "other.pub").write_bytes(write_publisher(forged))
    shell.run("package", "show", f"wherry-agent-{GOOD}.wherry", "--publisher", "other.pub", code=1)


def shown(verb: str, plane: Path) -> list[str]:
    """The command of the how-to, with this version and this control plane."""
    (line,) = (
        found for found in HOW_TO.read_text().splitlines() if found.startswith(f"wherry package {verb} ")
    )
    words = shlex.split(line.replace("0.1.1", GOOD))[1:]
    return [str(plane) if word == "plane" else word for word in words]


def told(here: Site, agent: Agent) -> dict[str, Any]:
    """What the resource API shows of an agent."""
    found: dict[str, Any] = here.admin.api.get(f"{here.mover}/agents/{agent.name}")["properties"]
    return found
