"""What tests of runs need: a control plane with registered agents, a real container, jobs, and work that is only told.

`World` is all of it.  Its agents speak the protocol through the real client and pretend to copy: they commit what a
test tells them to, so that each turn of a run can be taken on purpose.
"""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContainerClient

from tests.azurite import Azurite
from tests.integration.served import Served, serving
from wherry.agent.register import Wanted, register
from wherry.agent.state import AgentState
from wherry.client.agent_protocol import AgentProtocol
from wherry.control import breakglass
from wherry.model.entry import Kind
from wherry.model.ledger import Commit, Work, WorkItem
from wherry.model.outcomes import Counters, Outcome, Row, lines_of
from wherry.model.wire import Grant, Progress, Renewal, SegmentName, Sighting

VERSION = "2025-12-01"
GROUP = "group-1"
QUICK = {
    "WHERRY_SETTING_LEASE_SECONDS": "5",
    "WHERRY_SETTING_REAP_SECONDS": "0.2",
    "WHERRY_SETTING_POLICY_RETRY_SECONDS": "0.4",
    "WHERRY_SETTING_DATABASE_POLL_SECONDS": "0.2",
}


def rows(
    *paths: str, outcome: Outcome = Outcome.TRANSFERRED, code: str = "AZSM0000", size: int = 10
) -> list[Row]:
    """Rows of a copy log for files at `paths`."""
    return [Row(time.time(), Kind.FILE, outcome, code, size, path.encode(), "") for path in paths]


@dataclass
class Agent:
    """A registered agent that only pretends to copy."""

    name: str
    protocol: AgentProtocol
    principal: str

    def take(self, wait: float = 5.0) -> Grant:
        grant = self.protocol.take(wait)
        assert grant is not None, f"no lease for {self.name}"
        return grant

    def commit(
        self, grant: Grant, seq: int, log: list[Row], rest: Work | None = None, *, parts: tuple[Work, ...] = (),
        deferred: tuple[WorkItem, ...] = (),
    ) -> Renewal:  # fmt: skip
        """Commit items as the engine does: their rows as a segment first, then the counts of them."""
        progress = self.progress(grant, seq, log, rest, parts=parts, deferred=deferred)
        return self.ledger(grant).commit(grant.token, progress)

    def progress(
        self, grant: Grant, seq: int, log: list[Row], rest: Work | None = None, *, parts: tuple[Work, ...] = (),
        deferred: tuple[WorkItem, ...] = (),
    ) -> Progress:  # fmt: skip
        """A commit that is still to be sent; its segment is put."""
        counters = Counters()
        for row in log:
            if row.outcome is not Outcome.DELETED:
                counters.scanned(row.size)
            counters.row(row)
        segments: tuple[SegmentName, ...] = ()
        if log:
            segments = (self.ledger(grant).keep(grant.token, seq, lines_of(log)),)
        return Progress(Commit(seq, rest, parts), counters, segments, deferred)

    def ledger(self, grant: Grant, seconds: float = 10.0) -> Any:
        """The ledger of a lease, giving up on passing trouble after so long."""
        deadline = time.monotonic() + seconds
        return self.protocol.ledger(grant.order.run, lambda: deadline - time.monotonic())

    def sight(self, grant: Grant, source: str = "src:1", clock: int = 1_000) -> int:
        return (
            self.ledger(grant).sight(grant.token, Sighting(source, f"target:{grant.order.run}", clock)).since
        )


@dataclass
class World:
    """A served control plane with a mover, in which tests make agents and jobs."""

    served: Served
    azurite: Azurite
    folder: Path
    mover: str = "mover"
    agents: dict[str, Agent] = field(default_factory=dict)

    @property
    def mover_id(self) -> str:
        return (
            f"/subscriptions/{self.served.subscription}/resourceGroups/{GROUP}"
            f"/providers/Microsoft.StorageMover/storageMovers/{self.mover}"
        )

    def arm(self, method: str, path: str, body: Any = None, **params: str) -> httpx.Response:
        """One request to the resource API as the first administrator."""
        with httpx.Client(
            verify=ssl.create_default_context(cafile=self.served.ca_file), timeout=30
        ) as client:
            return client.request(
                method, f"{self.served.url}{path}", json=body, params={"api-version": VERSION, **params},
                headers={"Authorization": f"Bearer {self.served.token()}"},
            )  # fmt: skip

    def put(self, path: str, properties: Any, **more: Any) -> Any:
        answer = self.arm("PUT", path, {"properties": properties, **more})
        assert answer.status_code < 300, answer.text
        return answer.json()

    def agent(self, name: str) -> Agent:
        """The registered agent of that name, registered now when there is none yet."""
        if name not in self.agents:
            state = AgentState(self.folder / f"agent-{name}")
            wanted = Wanted(
                self.served.subscription, GROUP, self.mover, name, self.served.url, Path(self.served.ca_file)
            )
            for step in register(state, wanted, sleep=lambda _seconds: None):
                if step.code is not None:
                    breakglass.approve(self.served.state, step.code.user_code)
            identity, known = state.identity(), state.registration()
            assert identity is not None
            assert known is not None
            self.agents[name] = Agent(name, AgentProtocol(identity), known.principal_id)
        return self.agents[name]

    def assignments(self, agent: Agent) -> list[dict[str, Any]]:
        """The role assignments of an agent at this moment."""
        path = f"/subscriptions/{self.served.subscription}/providers/Microsoft.Authorization/roleAssignments"
        query = {"$filter": f"principalId eq '{agent.principal}'", "api-version": "2022-04-01"}
        answer = self.arm("GET", path, **query)
        assert answer.status_code == 200, answer.text
        return [one["properties"] for one in answer.json()["value"]]

    def group(self, *agents: str) -> str:
        """An agent group; answers its name."""
        name = f"group-{uuid.uuid4().hex[:8]}"
        self.put(f"{self.mover_id}/agentGroups/{name}", {"agents": [self.agent(one).name for one in agents]})
        return name

    def account(self) -> str:
        """Register Azurite as a storage account; answers the account's id."""
        path = (
            f"/subscriptions/{self.served.subscription}/resourceGroups/{GROUP}"
            f"/providers/Microsoft.Storage/storageAccounts/{self.azurite.account}"
        )
        told = {"blobEndpoint": self.azurite.url, "accountKey": self.azurite.key}
        answer = self.arm(
            "PUT",
            path,
            {"location": "westeurope", "properties": {"wherry": told}},
            **{"api-version": "2025-08-01"},
        )
        assert answer.status_code < 300, answer.text
        return path

    def job(self, *, container: str | None = None, agent: str = "", group: str = "", **options: Any) -> Job:
        """A job from a folder of its own into a container, or into a folder when none is named."""
        name = f"job-{uuid.uuid4().hex[:8]}"
        endpoints = f"{self.mover_id}/endpoints"
        self.put(f"{endpoints}/{name}-s", {"endpointType": "LocalMount", "path": f"/data/{name}/source"})
        target: dict[str, str] = {"endpointType": "LocalMount", "path": f"/data/{name}/target"}
        if container is not None:
            target = {
                "endpointType": "AzureStorageBlobContainer",
                "storageAccountResourceId": self.account(),
                "blobContainerName": container,
            }
        self.put(f"{endpoints}/{name}-t", target)
        path = f"{self.mover_id}/projects/project/jobDefinitions/{name}"
        properties = {"copyMode": "Additive", "sourceName": f"{name}-s", "targetName": f"{name}-t", **options}
        if agent:
            properties["agentName"] = agent
        if group:
            properties["wherry"] = {**properties.get("wherry", {}), "agentGroup": group}
        self.put(path, properties)
        return Job(self, path)


@dataclass
class Job:
    """A job definition and its latest run."""

    world: World
    path: str
    run_path: str = ""

    def start(self) -> str:
        answer = self.order("startJob")
        assert answer.status_code == 200, answer.text
        self.run_path = answer.json()["jobRunResourceId"]
        return self.run_path

    def order(self, what: str) -> httpx.Response:
        return self.world.arm("POST", f"{self.path}/{what}")

    @property
    def run(self) -> dict[str, Any]:
        """The properties of the run."""
        answer = self.world.arm("GET", self.run_path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["properties"])

    @property
    def status(self) -> str:
        return str(self.run["status"])

    def await_status(self, *wanted: str, seconds: float = 20.0) -> dict[str, Any]:
        return self.await_run(lambda run: run["status"] in wanted, seconds=seconds)

    def await_run(self, true: Callable[[dict[str, Any]], bool], seconds: float = 20.0) -> dict[str, Any]:
        """The run as soon as something is true of it."""
        deadline = time.monotonic() + seconds
        while not true(found := self.run):
            assert time.monotonic() < deadline, f"still {found}"
            time.sleep(0.05)
        return found

    def events(self, **query: str) -> list[dict[str, Any]]:
        return list(self.world.arm("GET", f"{self.run_path}/events", **query).json()["value"])

    def copy_log(self, **query: str) -> list[dict[str, Any]]:
        """All rows, over all pages."""
        answer = self.world.arm("GET", f"{self.run_path}/copyLogs", **query).json()
        found = list(answer["value"])
        while "nextLink" in answer:
            link = httpx.URL(answer["nextLink"])
            answer = self.world.arm("GET", link.path, **dict(link.params)).json()
            found += answer["value"]
        return found


def sas_works(azurite: Azurite, container: str, sas: str) -> bool:
    """Whether the server itself lets the holder of a SAS write."""
    with ContainerClient(azurite.url, container, credential=sas, retry_total=0) as client:
        try:
            client.upload_blob(f"probe-{uuid.uuid4().hex}", b"x")
        except HttpResponseError as refused:
            if refused.status_code != 403:
                raise
            return False
    return True


@contextmanager
def world(folder: Path, azurite: Azurite) -> Iterator[World]:
    """A control plane with a resource group, a mover and a project."""
    with serving(folder / "state") as served:
        made = World(served, azurite, folder)
        group = f"/subscriptions/{served.subscription}/resourceGroups/{GROUP}"
        assert (
            made.arm("PUT", group, {"location": "westeurope"}, **{"api-version": "2024-11-01"}).status_code
            < 300
        )
        made.put(made.mover_id, {}, location="westeurope")
        made.put(f"{made.mover_id}/projects/project", {})
        try:
            yield made
        finally:
            for agent in made.agents.values():
                agent.protocol.close()
