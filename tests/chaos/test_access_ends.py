"""However a run ends, the access that was made for it ends with it; what others put on the container stays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from tests import oracle
from tests.access import FOREIGN, Access, add_foreign, policies
from tests.azurite import Azurite
from tests.site import Agent, Job, Site
from wherry.control import audit
from wherry.control.db.engine import Database

End = Callable[[Job, Agent, Path, ContainerClient], None]


def by_itself(_job: Job, _agent: Agent, _source: Path, _container: ContainerClient) -> None:
    """All is copied."""


def stopped(job: Job, _agent: Agent, _source: Path, _container: ContainerClient) -> None:
    job.stop()


def source_gone(_job: Job, _agent: Agent, source: Path, _container: ContainerClient) -> None:
    source.rename(source.with_name("elsewhere"))


def agent_deleted(job: Job, agent: Agent, _source: Path, _container: ContainerClient) -> None:
    job.site.admin.api.delete(f"{job.site.mover}/agents/{agent.name}")


def stopped_and_killed(job: Job, _agent: Agent, _source: Path, _container: ContainerClient) -> None:
    """The control plane dies before it can have taken anything back."""
    job.stop()
    job.site.kill_control()
    job.site.serve_again()


def agent_dies(job: Job, agent: Agent, source: Path, _container: ContainerClient) -> None:
    agent.kill()
    agent.start(source.parent)


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        (by_itself, "Succeeded", None),
        (agent_dies, "Succeeded", None),
        (stopped, "Canceled", None),
        (stopped_and_killed, "Canceled", None),
        (source_gone, "Failed", "AZSM1001"),
        (agent_deleted, "Failed", "AZSM1041"),
    ],
)
def test_access_ends_with_the_run(
    here: Site, azurite: Azurite, tmp_path: Path, end: End, status: str, code: str | None
) -> None:
    source = tmp_path / "source"
    oracle.grow(source, 1000)
    container = azurite.container()
    add_foreign(container)
    with here.running(tmp_path, workers=1) as agent:
        job = here.job(source, container, agent)
        with here.middle():
            job.start()
            access = Access.of(job, container)
            (assignment,) = here.assignments(agent)
            assert assignment["properties"]["scope"].endswith(f"/containers/{container.container_name}")

            end(job, agent, source, container)

        ended = job.end()
        assert (ended["status"], ended.get("error", {}).get("code")) == (status, code), ended
        access.assert_ended()
        assert policies(container) == {FOREIGN}
    assert assignment["id"] not in {one["id"] for one in everyones(here)}
    assert audited(here, access.policy) == ["wherry/credential-opened", "wherry/credential-withdrawn"]
    made, *_, gone = audited(here, assignment["name"])
    assert (made, gone) == ("wherry/grant", "wherry/grant-ended")


def everyones(here: Site) -> list[dict[str, Any]]:
    """All role assignments that there are."""
    subscription = f"/subscriptions/{here.served.subscription}"
    return list(here.admin.api.list(f"{subscription}/providers/Microsoft.Authorization/roleAssignments"))


def audited(here: Site, name: str) -> list[str]:
    """What the audit trail, which is whole, tells of a credential or an assignment."""
    with (
        closing(Database(f"sqlite:///{here.served.state}/wherry.db")) as database,
        database.snapshot() as conn,
    ):
        assert audit.verify(conn) is None
        found = list(audit.records(conn, limit=100_000))
    return [
        one["action"]
        for one in found
        if name in (one.get("assignment"), one.get("details", {}).get("credential"))
    ]


def test_access_ends_when_items_fail(here: Site, azurite: Azurite, tmp_path: Path) -> None:
    oracle.grow(tmp_path, 1000)
    container = azurite.container()
    add_foreign(container)
    container.upload_blob("folder 0009", b"in the place of a folder")
    with here.running(tmp_path, workers=1) as agent:
        job = here.job(tmp_path, container, agent)
        job.start()
        access = Access.of(job, container)
        assert job.end()["error"]["code"] == "AZSM1046"
        access.assert_ended()
        assert here.assignments(agent) == []
        assert policies(container) == {FOREIGN}
