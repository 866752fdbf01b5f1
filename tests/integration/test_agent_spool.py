"""A control plane that is gone in the middle of a run: the agent works on, and what it did counts once, in order."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agents import Administrator, daemon, until
from tests.integration.served import Served, serving
from tests.integration.test_agent_work import Job
from wherry.agent.spool import opened
from wherry.agent.state import AgentState

FILES = 500
A_SECOND = 80
LEASE = 6.0
SETTINGS = {"WHERRY_SETTING_LEASE_SECONDS": str(LEASE), "WHERRY_SETTING_REAP_SECONDS": "0.2"}


@contextlib.contextmanager
def agent(state: AgentState, data: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The agent as a process, while the block runs."""
    command = [sys.executable, "-m", "wherry.cli.main", "agent", "run", "--state", str(state.directory)]
    command += ["--allow-source", str(data), "--allow-target", str(data), "--workers", "1", "--leases", "1"]
    with log.open("ab") as told:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=told)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def events(log: Path) -> list[str]:
    """What the agent's log tells so far."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line)["event"] for line in lines if line.endswith("}")]


def kill(served: Served) -> str:
    """End the control plane without a warning; where it was."""
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait()
    return served.url.removeprefix("https://")


def rows(api: Any, run: str, what: str) -> list[dict[str, Any]]:
    """All of a log of a run."""
    return list(api.list(f"{run}/{what}"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("source", "target"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for number in range(FILES):
        (tmp_path / "data" / "source" / f"file-{number:04}").write_bytes(b"x")
    return tmp_path / "data"


def test_what_is_done_while_the_control_plane_is_gone_counts_once(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    log, target, state = tmp_path / "log", data / "target", AgentState(tmp_path / "agent")
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(serving(tmp_path / "state"))
        admin = Administrator(served, tmp_path / "config")
        stack.callback(admin.close)
        mover = admin.mover()
        admin.register(state, mover)
        job = Job(admin, mover, data / "source", target)
        slowly = {"wherry": {"requestsPerSecond": A_SECOND}}
        admin.api.put(job.path, {"properties": admin.api.get(job.path)["properties"] | slowly})
        working = stack.enter_context(agent(state, data, log))
        run = job.start()
        counted = until(lambda: job.run(run).get("itemsTransferred"), 60)
        address = kill(served)

        until(lambda: "spool.begin" in events(log), 60)
        until(lambda: "lease.lost" in events(log), 60)
        written = sorted(os.listdir(target))
        assert counted < len(written), "it worked on as long as its lease was good"
        # Also an agent that ends and comes back meanwhile has it all.
        working.send_signal(signal.SIGKILL)
        working.wait()
        assert sorted(os.listdir(target)) == written
        with opened(state.directory, known(state)) as spool:
            letters = spool.first(1000)
        commits = [one for one in letters if one.kind == "commit"]
        kept = sum(one.head["progress"]["counters"]["Transferred"][0] for one in commits)
        assert 0 < kept <= len(written)

        stack.enter_context(serving(tmp_path / "state", address))
        with daemon(state, allow_source=(data,), allow_target=(data,)):
            ended = job.end(run, 90)
        check(admin, run, ended)
        with opened(state.directory, known(state)) as spool:
            assert len(spool) == 0


def known(state: AgentState) -> str:
    registration = state.registration()
    assert registration is not None
    return registration.principal_id


def check(admin: Administrator, run: str, ended: dict[str, Any]) -> None:
    """Every item is counted and logged once, and the log tells what happened."""
    assert (ended["status"], ended["itemsTransferred"]) == ("Succeeded", FILES), ended
    log = rows(admin.api, run, "copyLogs")
    paths = [row["itemPath"] for row in log]
    assert len(paths) == len(set(paths)) == FILES
    told = [row["message"] for row in rows(admin.api, run, "events") if row.get("agentName")]
    assert sum("The control plane does not answer" in message for message in told) == 1
