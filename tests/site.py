"""Whole migrations with real processes: a control plane, agents, trees, containers and jobs between them.

Everything is started the way its owner starts it: the control plane in a process of its own, each agent by
`wherry agent run`, registered by device code.  Used by `tests/e2e` and `tests/chaos`; what is waited for is a state of
the API, a line of an agent's log, or what is on the target.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from tests import oracle, processes
from tests.azurite import Azurite
from tests.conftest import is_running, read
from tests.integration.agents import Administrator, until
from tests.integration.served import Served, serving
from wherry.agent.state import AgentState

QUICK = {
    "WHERRY_SETTING_LEASE_SECONDS": "4",
    "WHERRY_SETTING_REAP_SECONDS": "0.2",
    "WHERRY_SETTING_POLICY_RETRY_SECONDS": "0.4",
    "WHERRY_SETTING_DATABASE_POLL_SECONDS": "0.2",
}
ENDED = ("Succeeded", "Failed", "Canceled")
PATIENCE = 100.0


class Agent:
    """One agent: its state directory, and its process while it runs."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.state = AgentState(folder)
        self.log = folder.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None
        self.roots: tuple[Path, ...] = ()
        self.program: tuple[str, ...] = ("-m", "wherry.cli.main")
        self.more: tuple[str, ...] = ()

    @property
    def principal(self) -> str:
        """The object id of its identity."""
        known = self.state.registration()
        assert known is not None
        return known.principal_id

    def start(self, *roots: Path, workers: int = 2) -> None:
        """Run it, with folders that jobs may read and write; in a process group of its own."""
        self.roots = roots
        command = [sys.executable, *self.program, "agent", "run"]
        command += ["--state", str(self.state.directory), *self.more]
        for root in roots:
            command += ["--allow-source", str(root), "--allow-target", str(root)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", str(workers)], stdin=subprocess.DEVNULL, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the agent itself, not to its workers; returns when all of them are gone."""
        assert self.process is not None
        workers = self.workers()
        self.process.kill()
        self.process.wait()
        until(lambda: not any(is_running(worker) for worker in workers), 10)

    def stop(self) -> int:
        """SIGTERM, and what it ended with."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(20)
        finally:
            self.end()

    def freeze(self) -> None:
        """Stop it with all of its processes in their tracks, as a machine that sleeps."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def end(self) -> None:
        """Make sure that nothing of it runs any more."""
        if self.process is None:
            return
        if self.alive():
            self.thaw()
            self.kill()
        self.process.wait()
        self.process = None

    def workers(self) -> list[int]:
        """The process ids of its engine's workers."""
        assert self.process is not None
        found = [
            int(pid)
            for listing in Path(f"/proc/{self.process.pid}/task").glob("*/children")
            for pid in read(listing).split()
        ]
        return [pid for pid in found if b"spawn_main" in read(Path(f"/proc/{pid}/cmdline"))]

    def lines(self, event: str, **about: object) -> list[dict[str, Any]]:
        """Lines of its log that tell of `event`, with these fields."""
        found = []
        for text in self.log.read_text().splitlines() if self.log.exists() else ():
            line = json.loads(text) if text.startswith("{") else {}
            if line.get("event") == event and all(line.get(name) == value for name, value in about.items()):
                found.append(line)
        return found

    def _signal_all(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)


@dataclass
class Job:
    """A job definition and its latest run."""

    site: Site
    path: str
    run_path: str = ""

    def start(self) -> str:
        """Start it; the GUID of the run."""
        self.run_path = str(self.site.admin.api.post(f"{self.path}/startJob")["jobRunResourceId"])
        return self.run_path.rpartition("/")[2]

    def stop(self) -> None:
        self.site.admin.api.post(f"{self.path}/stopJob")

    @property
    def run(self) -> dict[str, Any]:
        """The properties of the run."""
        found: dict[str, Any] = self.site.admin.api.get(self.run_path)["properties"]
        return found

    def await_run(self, true: Callable[[dict[str, Any]], Any], seconds: float = PATIENCE) -> dict[str, Any]:
        """The run as soon as something is true of it."""
        found: dict[str, Any] = {}
        deadline = time.monotonic() + seconds
        while not true(found := self.run):
            if time.monotonic() > deadline:
                raise AssertionError(f"still {found['status']}\n{self.site.traces()}\n{self.told()}\n{found}")
            time.sleep(0.1)
        return found

    def end(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """The run when it has ended and its access, if it had any, is gone."""
        return self.await_run(
            lambda run: run["status"] in ENDED and run["wherry"]["accessState"] in ("Ended", "None"), seconds
        )

    def told(self) -> list[str]:
        """The messages of the run log."""
        return [
            f"{row['statusCode']} {row['message']}"
            for row in self.site.admin.api.list(f"{self.run_path}/events")
        ]

    def rows(self, **query: str) -> list[dict[str, Any]]:
        """All rows of the copy log."""
        return list(self.site.admin.api.list(f"{self.run_path}/copyLogs", **{"$top": "1000", **query}))

    def assert_each_once(self, items: int) -> None:
        """Every item has one row and is counted once, as transferred."""
        run = self.run
        assert (run["status"], run["itemsTransferred"], run["itemsScanned"]) == ("Succeeded", items, items), (
            run
        )
        others = [run[f"items{name}"] for name in ("Failed", "Excluded", "Unsupported", "NoTransferNeeded")]
        assert others == [0] * 4, run
        paths = [row["itemPath"] for row in self.rows()]
        assert len(paths) == items
        assert len(set(paths)) == items


@dataclass
class Site:
    """A served control plane with a mover; tests make agents, trees and jobs in it.

    `blob_endpoint` is where agents find the Blob server, when it is not where tests do.  While `middle()` lasts, runs
    into containers go on and do not come to their end, where the site's maker sees to it.
    """

    served: Served
    azurite: Azurite
    folder: Path
    admin: Administrator
    mover: str
    _processes: ExitStack
    _agents: list[Agent] = field(default_factory=list)
    blob_endpoint: str = ""
    middle: Callable[[], AbstractContextManager[None]] = nullcontext

    def agent(self, name: str = "") -> Agent:
        """A new registered agent that does not run yet."""
        made = Agent(self.folder / "agents" / uuid.uuid4().hex[:8], name or f"agent-{uuid.uuid4().hex[:8]}")
        self._agents.append(made)
        self.admin.register(made.state, self.mover, made.name)
        return made

    @contextmanager
    def running(self, *roots: Path, workers: int = 2) -> Iterator[Agent]:
        """A new agent at work while the block runs."""
        made = self.agent()
        made.start(*roots, workers=workers)
        try:
            yield made
        finally:
            made.end()

    def group(self, *agents: Agent) -> str:
        """An agent group; answers its name."""
        name = f"group-{uuid.uuid4().hex[:8]}"
        members = {"agents": [one.name for one in agents]}
        self.admin.api.put(f"{self.mover}/agentGroups/{name}", {"properties": members})
        return name

    def account(self) -> str:
        """Register the Blob server as a storage account; answers the account's id."""
        path = f"{self.admin.group}/providers/Microsoft.Storage/storageAccounts/{self.azurite.account}"
        told = {"blobEndpoint": self.blob_endpoint or self.azurite.url, "accountKey": self.azurite.key}
        self.admin.api.put(path, {"location": "westeurope", "properties": {"wherry": told}})
        return path

    def job(
        self,
        source: Path,
        target: Path | ContainerClient | str,
        agent: Agent | str,
        *,
        subpath: str = "",
        **options: Any,
    ) -> Job:
        """A job from a folder to a folder or container, for an agent or a group's name.

        A target that is text is the name of a container, there or not.  `options` are those of the job.
        """
        name = f"job-{uuid.uuid4().hex[:8]}"
        ends: dict[str, dict[str, Any]] = {"source": {"endpointType": "LocalMount", "path": str(source)}}
        if isinstance(target, Path):
            ends["target"] = {"endpointType": "LocalMount", "path": str(target)}
        else:
            ends["target"] = {
                "endpointType": "AzureStorageBlobContainer",
                "storageAccountResourceId": self.account(),
                "blobContainerName": target if isinstance(target, str) else target.container_name,
            }
        for side, place in ends.items():
            self.admin.api.put(f"{self.mover}/endpoints/{name}-{side}", {"properties": place})
        wherry = {**options.pop("wherry", {}), **({"agentGroup": agent} if isinstance(agent, str) else {})}
        properties = {
            "copyMode": "Additive", "sourceName": f"{name}-source", "targetName": f"{name}-target",
            **({"agentName": agent.name} if isinstance(agent, Agent) else {}),
            **({"targetSubpath": subpath} if subpath else {}), **options, "wherry": wherry,
        }  # fmt: skip
        path = f"{self.mover}/projects/project/jobDefinitions/{name}"
        self.admin.api.put(path, {"properties": properties})
        return Job(self, path)

    def assignments(self, agent: Agent) -> list[dict[str, Any]]:
        """The role assignments of an agent at this moment."""
        path = f"/subscriptions/{self.served.subscription}/providers/Microsoft.Authorization/roleAssignments"
        return list(self.admin.api.list(path, **{"$filter": f"principalId eq '{agent.principal}'"}))

    def kill_control(self) -> None:
        """SIGKILL to the control plane."""
        self.served.process.kill()
        self.served.process.wait()

    def serve_again(self) -> None:
        """Serve the same state at the same address as before."""
        port = self.served.url.rpartition(":")[2]
        again = self._processes.enter_context(serving(self.served.state, f"127.0.0.1:{port}"))
        again.credential = self.served.credential
        processes.kept.add(again.process.pid)
        self.served = self.admin.served = again

    def until(self, check: Callable[[], Any], seconds: float = 30) -> Any:
        """What `check` gives as soon as it gives something."""
        try:
            return until(check, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.traces()}") from None

    def traces(self) -> str:
        """The ends of all logs, for whoever has to find out what went wrong."""
        logs = [self.served.state.with_suffix(".log"), *(agent.log for agent in self._agents)]
        return "\n".join(f"{log}:\n{log.read_text()[-4000:]}" for log in logs if log.exists())

    def end_agents(self) -> None:
        """End what tests have left running."""
        for agent in self._agents:
            agent.end()


@contextmanager
def site(folder: Path, azurite: Azurite, log_level: str = "warning", **settings: str) -> Iterator[Site]:
    """A control plane of its own; `settings` are those of `control.settings`, in upper case without a prefix."""
    told = {**QUICK, **{f"WHERRY_SETTING_{name}": value for name, value in settings.items()}}
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in told.items():
            patch.setenv(name, value)
        served = stack.enter_context(serving(folder / "state", log_level=log_level))
        admin = Administrator(served, folder / "config")
        stack.callback(admin.close)
        made = Site(served, azurite, folder, admin, admin.mover(), stack)
        admin.api.put(f"{made.mover}/projects/project", {"properties": {}})
        stack.callback(made.end_agents)
        yield made


def assert_same(source: Path, target: Path | ContainerClient) -> None:
    """What is at the target is what is at the source, told by the oracle."""
    if isinstance(target, Path):
        assert oracle.folder(target) == oracle.folder(source)
    else:
        assert oracle.container(target) == oracle.held_by_containers(source)


__all__ = ["ENDED", "Agent", "Job", "Site", "assert_same", "site", "until"]
