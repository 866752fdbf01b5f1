"""What cannot work is refused, or ends the run, with its code and with nothing half-made."""

from __future__ import annotations

import ctypes
import os
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import oracle
from tests.azurite import Azurite
from tests.e2e.conftest import Place
from tests.integration.served import Served
from tests.integration.test_resource_rights import second_user
from tests.site import Agent, Job, Site, assert_same, site, until
from wherry.client.rest import FixedToken, ResourceClient
from wherry.model.errors import ApiError
from wherry.trust.roles import CONTRIBUTOR

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
ROLES = "/providers/Microsoft.Authorization/roleAssignments"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do what this needs")


@pytest.fixture(scope="module")
def idle(here: Site) -> Agent:
    """An agent that is registered and does not run: what is started waits for it."""
    return here.agent()


def failed(job: Job) -> tuple[str, str]:
    """Code and message of the run, which ends Failed and has counted nothing."""
    job.start()
    run = job.end()
    assert run["status"] == "Failed", (job.told(), run)
    assert not run.get("itemsScanned")
    assert not run.get("itemsTransferred")
    assert job.rows() == []
    return run["error"]["code"], run["error"]["message"]


def refused(job: Job) -> tuple[int, str]:
    """Status and code of the answer to a start that makes no run."""
    before = runs_of(job)
    with pytest.raises(ApiError) as caught:
        job.start()
    assert runs_of(job) == before
    return caught.value.status, caught.value.code


def runs_of(job: Job) -> int:
    return len(list(job.site.admin.api.list(f"{job.path}/jobRuns")))


@pytest.mark.parametrize("subpath", ["absent", "absent/deeper", "file"])
def test_source_that_is_no_folder(
    here: Site, agent: Agent, place: Place, azurite: Azurite, subpath: str
) -> None:
    (place.source / "file").write_bytes(b"x")
    container = azurite.container()
    for target in (place.target, container):
        code, message = failed(here.job(place.source / subpath, target, agent))
        assert code == "AZSM1001"
        assert subpath.partition("/")[0] in message
    assert oracle.folder(place.target) == {}
    assert oracle.container(container) == {}
    assert here.assignments(agent) == []


def test_source_folder_that_the_agent_does_not_allow(
    here: Site, agent: Agent, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    (place.source / "way out").symlink_to(tmp_path)
    for source in (tmp_path, place.source / "way out", Path("/etc"), here.served.state):
        assert failed(here.job(source, place.target, agent))[0] == "AZSM1007"
    assert oracle.folder(place.target) == {}


def test_target_folder_that_the_agent_does_not_allow(
    here: Site, agent: Agent, place: Place, tmp_path: Path
) -> None:
    (place.source / "file").write_bytes(b"x")
    (place.target / "way out").symlink_to(tmp_path)
    for target in (tmp_path, tmp_path / "new", place.target / "way out"):
        assert failed(here.job(place.source, target, agent))[0] == "AZSM1032"
    assert oracle.folder(tmp_path) == {}


def test_container_that_is_missing(here: Site, agent: Agent, place: Place) -> None:
    (place.source / "file").write_bytes(b"x")

    code, message = failed(here.job(place.source, "not-there-at-all", agent))

    assert code == "AZSM1022"
    assert "container" in message
    assert here.assignments(agent) == []


def test_caller_who_may_not_let_the_agent_in(here: Site, idle: Agent, place: Place, azurite: Azurite) -> None:
    oid, token = second_user(here.served)
    role = {"roleDefinitionId": CONTRIBUTOR.guid, "principalId": oid, "principalType": "User"}
    here.admin.api.put(f"{here.admin.group}{ROLES}/{oid}", {"properties": role})
    job = here.job(place.source, azurite.container(), idle)

    with ResourceClient(here.admin.profile, FixedToken(token)) as other:
        assert other.get(job.path)
        with pytest.raises(ApiError) as caught:
            other.post(f"{job.path}/startJob")

    assert (caught.value.status, caught.value.code) == (403, "AuthorizationFailed")
    assert "roleAssignments/write" in str(caught.value)
    assert runs_of(job) == 0
    assert here.assignments(idle) == []


def test_claims_that_overlap_and_a_second_start(
    here: Site, idle: Agent, place: Place, azurite: Azurite
) -> None:
    for target in (azurite.container(), place.target):
        first = here.job(place.source, target, idle, subpath="a/b")
        first.start()
        assert refused(first) == (409, "JobAlreadyRunning")
        for subpath in ("", "a", "a/b", "a/b/c"):
            assert refused(here.job(place.source, target, idle, subpath=subpath)) == (409, "AZSM1027")
        beside = here.job(place.source, target, idle, subpath="a/bc")
        beside.start()
        for job in (first, beside):
            job.stop()
            assert job.end()["status"] == "Canceled"


def test_source_and_target_in_one_another(here: Site, idle: Agent, place: Place) -> None:
    inside = place.source / "inside"
    for source, target in ((place.source, inside), (inside, place.source), (inside, inside)):
        assert refused(here.job(source, target, idle)) == (409, "AZSM1033")
    assert oracle.folder(place.source) == {}


@pytest.mark.parametrize(
    "told",
    [
        {"wherry": {"deleteEverything": True}},
        {"wherry": {"maxDelete": -1}},
        {"wherry": {"verify": "perhaps"}},
        {"copyMode": "Sideways"},
        {"sourceSubpath": "../up"},
        {"targetSubpath": "a/../../up"},
        {"sourceName": "no-such-endpoint"},
        {"agentName": "no-such-agent"},
    ],
)  # fmt: skip
def test_job_that_makes_no_sense(here: Site, idle: Agent, place: Place, told: dict[str, Any]) -> None:
    jobs = f"{here.mover}/projects/project/jobDefinitions"
    before = list(here.admin.api.list(jobs))

    with pytest.raises(ApiError) as caught:
        here.job(place.source, place.target, idle, **told).start()

    assert caught.value.status == 400, caught.value
    wrong = next(iter(told))
    assert wrong in str(caught.value.target), (caught.value.target, caught.value)
    assert len(list(here.admin.api.list(jobs))) == len(before)


def start_without_privileges(agent: Agent, root: Path) -> None:
    """Run an agent whom the modes of files bind, also where the tests are root's."""

    def start() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if os.geteuid() == 0 and libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "the capability cannot be dropped")
        agent.start(root)

    # What a thread drops is missing to it and to the processes that it starts, and to no other.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(start).result()


@contextmanager
def closed(*paths: Path) -> Iterator[None]:
    """Nobody has any right to these while the block runs."""
    for path in paths:
        path.chmod(0)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(0o700)


@pytest.fixture(scope="module")
def limited(here: Site, root: Path) -> Iterator[Agent]:
    """An agent that may not read everything."""
    made = here.agent()
    start_without_privileges(made, root)
    yield made
    made.end()


def test_places_without_permission(here: Site, limited: Agent, place: Place, azurite: Azurite) -> None:
    container = azurite.container()
    (place.source / "deep").mkdir()
    (place.source / "deep" / "file").write_bytes(b"secret")

    with closed(place.source):
        for source in (place.source, place.source / "deep"):
            for target in (container, place.target):
                assert failed(here.job(source, target, limited))[0] == "AZSM1003"
    with closed(place.target):
        for folder in (place.target, place.target / "new"):
            assert failed(here.job(place.source, folder, limited))[0] == "AZSM1021"

    assert oracle.container(container) == {}
    assert oracle.folder(place.target) == {}


def test_items_without_permission_fail_alone(
    here: Site, limited: Agent, place: Place, azurite: Azurite
) -> None:
    container = azurite.container()
    (place.source / "locked").mkdir()
    for path in ("a", "secret", "z", "locked/kept"):
        (place.source / path).write_bytes(path.encode())
    job = here.job(place.source, container, limited, copyMode="Mirror")
    job.start()
    assert job.end()["status"] == "Succeeded"
    before = oracle.container(container)
    for path in ("a", "secret", "z"):
        (place.source / path).write_bytes(b"new " + path.encode())

    with closed(place.source / "locked", place.source / "secret"):
        job.start()
        run = job.end()

    assert (run["status"], run["error"]["code"]) == ("Failed", "AZSM1046")
    told = {row["itemPath"]: row["statusCode"] for row in job.rows()}
    assert told == {"a": "AZSM0000", "z": "AZSM0000", "secret": "AZSM2062", "locked": "AZSM1002"}
    after = oracle.container(container)
    assert [path for path in before if before[path] == after[path]] == [b"locked", b"locked/kept", b"secret"]
    job.start()
    assert job.end()["status"] == "Succeeded"
    assert_same(place.source, container)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own of a few MiB."""
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Take the last byte of a disk; answers the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            while True:
                try:
                    if file.write(bytes(size)) < size:
                        break
                except OSError:
                    break
    return ballast


def refused_for_want_of_room(served: Served, token: str, path: str) -> None:
    """A change is answered by 503, and reading goes on."""
    trust = ssl.create_default_context(cafile=served.ca_file)
    with httpx.Client(base_url=served.url, verify=trust, timeout=30) as client:
        headers, query = {"Authorization": f"Bearer {token}"}, {"api-version": "2025-12-01"}
        body = {"properties": {"description": "x" * 1000}}
        answer = client.put(path, json=body, headers=headers, params=query)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ServiceUnavailable")
        assert answer.headers["Retry-After"]
        assert client.get(path, headers=headers, params=query).status_code == 404


@root_only
def test_disk_of_the_control_plane_is_full(tmp_path: Path, azurite: Azurite) -> None:
    data = tmp_path / "data"
    (data / "target").mkdir(parents=True)
    items = oracle.grow(data / "source", 5000)
    with small_disk(tmp_path / "state") as disk, site(tmp_path, azurite) as here, here.running(data) as agent:
        job = here.job(data / "source", data / "target", agent)
        token = here.served.token()
        job.start()
        job.await_run(lambda run: run.get("itemsTransferred"))
        ballast = fill(disk)
        until(lambda: "cannot be used" in disk.with_suffix(".log").read_text())
        refused_for_want_of_room(here.served, token, f"{here.mover}/projects/in-want-of-room")
        assert job.run["status"] == "Running"
        ballast.unlink()
        job.end()
        job.assert_each_once(items)
    assert_same(data / "source", data / "target")
