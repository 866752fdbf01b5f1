"""Leases through a real agent and a served control plane: from startJob to the end of the run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azurite import Azurite
from tests.integration.agents import Administrator, daemon, name_for, until
from tests.integration.served import serving
from tests.unit.agent.shell.test_shell import number as entry
from tests.unit.agent.shell.test_shell import typed
from wherry.agent import job_places
from wherry.agent.shell.menus import QUIT
from wherry.agent.state import AgentState

PLACES = (("source", "src", "source"), ("target", "dst", "target"))
ENDED = ("Succeeded", "Failed", "Canceled")


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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source with some files, and an empty target beside it."""
    source = tmp_path / "data" / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty").mkdir()
    for number in range(40):
        (source / f"file-{number:02}").write_bytes(b"x" * number)
        (source / "deep" / "er" / f"file-{number:02}").write_bytes(b"y" * number * 100)
    (tmp_path / "data" / "target").mkdir()
    return tmp_path / "data"


class Job:
    """A job from a folder to a folder or container, for the agent of a fresh mover."""

    def __init__(self, admin: Administrator, mover: str, source: Path, target: Path | dict[str, Any]) -> None:
        self.api = admin.api
        for name, place in (("src", source), ("dst", target)):
            folder = {"endpointType": "LocalMount", "path": str(place)}
            self.api.put(
                f"{mover}/endpoints/{name}", {"properties": place if isinstance(place, dict) else folder}
            )
        self.api.put(f"{mover}/projects/p", {"properties": {}})
        self.path = f"{mover}/projects/p/jobDefinitions/j"
        properties = {
            "copyMode": "Additive",
            "sourceName": "src",
            "targetName": "dst",
            "agentName": name_for(mover),
        }
        self.api.put(self.path, {"properties": properties})

    def start(self) -> str:
        return str(self.api.post(f"{self.path}/startJob")["jobRunResourceId"])

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(run)["properties"]
        return found

    def end(self, run: str, seconds: float = 60) -> dict[str, Any]:
        """The properties of a run when it has ended."""
        found: dict[str, Any] = until(lambda: (now := self.run(run))["status"] in ENDED and now, seconds)
        return found


def content(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_folder_is_copied_and_the_second_run_has_nothing_to_do(
    admin: Administrator, state: AgentState, tree: Path
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    job = Job(admin, mover, tree / "source", tree / "target")

    with daemon(state, allow_source=(tree / "source",), allow_target=(tree / "target",)):
        first = job.end(job.start())
        assert (first["status"], first["itemsTransferred"]) == ("Succeeded", 83), first
        assert content(tree / "source") == content(tree / "target")
        second = job.end(job.start())

    assert second["status"] == "Succeeded"
    assert (second["itemsTransferred"], second["itemsNoTransferNeeded"]) == (0, 83)


def test_a_folder_is_copied_into_a_container(
    admin: Administrator, state: AgentState, tree: Path, azurite: Azurite
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    container = azurite.container()
    account = f"{admin.group}/providers/Microsoft.Storage/storageAccounts/acc{mover[-8:]}"
    service = {"blobEndpoint": azurite.url, "accountName": azurite.account, "accountKey": azurite.key}
    admin.api.put(account, {"location": "westeurope", "properties": {"wherry": service}})
    admin.api.put(f"{account}/blobServices/default/containers/{container.container_name}", {"properties": {}})
    target = {
        "endpointType": "AzureStorageBlobContainer",
        "storageAccountResourceId": account,
        "blobContainerName": container.container_name,
    }
    job = Job(admin, mover, tree / "source", target)

    with daemon(state, allow_source=(tree / "source",)):
        ended = job.end(job.start())

    assert (ended["status"], ended["itemsTransferred"]) == ("Succeeded", 83), ended
    found = {blob.name: container.download_blob(blob.name).readall() for blob in container.list_blobs()}
    files = {name: data for name, data in content(tree / "source").items() if data is not None}
    assert {name: data for name, data in found.items() if name in files} == files


@pytest.mark.parametrize(("side", "code"), [("source", "AZSM1007"), ("target", "AZSM1032")])
def test_a_folder_that_the_agent_does_not_allow_ends_the_run(
    admin: Administrator, state: AgentState, tree: Path, side: str, code: str
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    job = Job(admin, mover, tree / "source", tree / "target")
    allowed = {"allow_source": (tree / "source",), "allow_target": (tree / "target",)}
    allowed[f"allow_{side}"] = (tree / "source" / "deep",)

    with daemon(state, **allowed):
        ended = job.end(job.start())

    assert (ended["status"], ended["error"]["code"]) == ("Failed", code)
    assert content(tree / "target") == {}


def test_a_source_that_is_not_there_ends_the_run(admin: Administrator, state: AgentState, tree: Path) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    job = Job(admin, mover, tree / "absent", tree / "target")

    with daemon(state, allow_source=(tree,), allow_target=(tree,)):
        ended = job.end(job.start())

    assert (ended["status"], ended["error"]["code"]) == ("Failed", "AZSM1001")


def test_a_target_that_a_link_leads_into_the_source_ends_the_run(
    admin: Administrator, state: AgentState, tree: Path
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    (tree / "link").symlink_to(tree / "source" / "deep")
    job = Job(admin, mover, tree / "source", tree / "link")
    before = content(tree / "source")

    with daemon(state, allow_source=(tree,), allow_target=(tree,)):
        ended = job.end(job.start())

    assert (ended["status"], ended["error"]["code"]) == ("Failed", "AZSM1033")
    assert content(tree / "source") == before


def test_an_agent_that_is_told_to_stop_leaves_the_rest_to_the_next(
    admin: Administrator, state: AgentState, tree: Path
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    for number in range(3000):
        (tree / "source" / f"more-{number:04}").write_bytes(b"z")
    job = Job(admin, mover, tree / "source", tree / "target")
    allowed: dict[str, Any] = {"allow_source": (tree,), "allow_target": (tree,), "workers": 2}

    with daemon(state, **allowed) as running:
        run = job.start()
        until(lambda: any((tree / "target").iterdir()))
        running.stopping.set()
        assert running.wait() == 0
    with daemon(state, **allowed):
        ended = job.end(run)

    assert (ended["status"], ended["itemsTransferred"]) == ("Succeeded", 3083), ended
    assert content(tree / "source") == content(tree / "target")


def test_a_worker_that_is_killed_costs_nothing_but_time(
    admin: Administrator, state: AgentState, tree: Path
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    for number in range(3000):
        (tree / "source" / f"more-{number:04}").write_bytes(b"z")
    job = Job(admin, mover, tree / "source", tree / "target")

    with daemon(state, allow_source=(tree,), allow_target=(tree,), workers=2):
        run = job.start()
        until(lambda: any((tree / "target").iterdir()))
        for worker in multiprocessing.active_children():
            worker.kill()
        ended = job.end(run)

    assert (ended["status"], ended["itemsTransferred"]) == ("Succeeded", 3083), ended
    assert content(tree / "source") == content(tree / "target")


def test_a_run_waits_for_an_agent_and_is_stopped_by_a_person(
    admin: Administrator, state: AgentState, tree: Path
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    job = Job(admin, mover, tree / "source", tree / "target")
    run = job.start()
    assert job.run(run)["status"] == "Queued"

    job.api.post(f"{job.path}/stopJob")

    assert job.end(run)["status"] == "Canceled"


def test_the_shell_tells_how_the_runs_of_its_agent_stand(
    admin: Administrator, state: AgentState, tree: Path
) -> None:
    mover = admin.mover()
    admin.register(state, mover)
    job = Job(admin, mover, tree / "source", tree / "target")
    (tree / "source" / "an \x1b[31mitem").write_bytes(b"x")
    with daemon(state, allow_source=(tree,), allow_target=(tree,)):
        run = job.start().rpartition("/")[2]
        job.end(f"{job.path}/jobRuns/{run}")
        entries = (entry("status", name) for name in ("service_status", "job_summary", "job_details"))
        logs = entry("status", "job_copy_logs")
        more = ("0", "0"), ("1", "", "", "", "", "", "", "", "")
        shown = [
            typed(state, entry("main", "status"), *lines, entry("status", QUIT), entry("main", QUIT)).text
            for lines in (
                [*entries, f"j:{run}"],
                [logs, f"j:{run}", "5"],
                *([logs, f"j:{run}", *lines] for lines in more),
            )
        ]
    told, failed, some, everything = shown
    reached = [(one.what, one.url, one.passed) for one in job_places.checked(state)]
    assert reached == [(f"{side} {name}", str(tree / folder), True) for side, name, folder in PLACES]
    assert "the control plane answers this agent" in told
    assert f"j:{run}\n    Succeeded, " in told
    assert "Items Transferred" in told
    assert f"LocalMount {tree / 'source'}" in told
    assert "Parts left            0" in told
    assert "There are no such rows." in failed
    assert (some.count("AZSM0000"), everything.count("AZSM0000")) == (20, 84)
    assert "an \\x1b[31mitem" in everything
    assert "\x1b" not in everything
