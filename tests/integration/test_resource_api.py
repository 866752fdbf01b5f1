"""Microsoft.StorageMover as azure-mgmt-storagemover uses it, unmodified, against a served control plane."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from tests.integration.served import Served, code_of, serving, target_of
from wherry.control import breakglass

ROOT = Path(__file__).resolve().parents[2]
VERSION = "2025-12-01"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("plane") / "state") as running:
        running.resources.resource_groups.create_or_update("Group-1", {"location": "westeurope"})
        running.token()
        yield running


@pytest.fixture(scope="module")
def movers(served: Served) -> Iterator[Any]:
    with served.movers as client:
        yield client


@pytest.fixture
def mover(movers: Any) -> str:
    """A fresh mover in Group-1."""
    name = f"Mover-{uuid.uuid4().hex[:8]}"
    movers.storage_movers.create_or_update("group-1", name, {"location": "West Europe"})
    return name


@pytest.fixture
def project(movers: Any, mover: str) -> str:
    """A project in `mover`, with endpoints `src` and `dst` and the agent `agent` to define jobs with."""
    movers.endpoints.create_or_update("group-1", mover, "src", local("/data/in"))
    movers.endpoints.create_or_update("group-1", mover, "dst", local("/data/out"))
    movers.agents.create_or_update("group-1", mover, "agent", agent(movers, mover))
    movers.projects.create_or_update("group-1", mover, "project", {"properties": {"description": "p"}})
    return "project"


def local(path: str, **more: Any) -> Any:
    return {"properties": {"endpointType": "LocalMount", "path": path, **more}}


def agent(movers: Any, mover: str, **more: Any) -> Any:
    group = movers.storage_movers.get("group-1", mover).id.partition("/providers/")[0]
    machine = f"{group}/providers/Microsoft.HybridCompute/machines/{mover}"
    return {"properties": {"arcResourceId": machine, "arcVmUuid": str(uuid.uuid4()), **more}}


def job(**more: Any) -> Any:
    return {"properties": {"copyMode": "Additive", "sourceName": "src", "targetName": "dst", **more}}


def test_a_mover_is_made_read_changed_listed_and_deleted(movers: Any) -> None:
    body: Any = {"location": "West Europe", "tags": {"a": "b"}, "properties": {"description": "first"}}
    made = movers.storage_movers.create_or_update("GROUP-1", "My-Mover", body)

    assert made.id.endswith("/resourceGroups/Group-1/providers/Microsoft.StorageMover/storageMovers/My-Mover")
    assert (made.name, made.type, made.location) == (
        "My-Mover",
        "microsoft.storagemover/storagemovers",
        "westeurope",
    )
    assert made.properties.provisioning_state == "Succeeded"
    assert made.system_data.created_by_type == "User"
    assert made.system_data.created_by == "admin"

    read = movers.storage_movers.get("group-1", "MY-MOVER")
    assert read.id == made.id
    assert read.tags == {"a": "b"}

    changed = movers.storage_movers.update("group-1", "my-mover", {"properties": {"description": "second"}})
    assert (changed.properties.description, changed.tags) == ("second", {"a": "b"})
    assert changed.system_data.last_modified_at > made.system_data.last_modified_at
    assert changed.system_data.created_at == made.system_data.created_at

    replaced = movers.storage_movers.create_or_update("group-1", "my-mover", {"location": "westeurope"})
    assert (replaced.properties.description, replaced.tags, replaced.name) == (None, {}, "My-Mover")

    assert made.id in [one.id for one in movers.storage_movers.list("group-1")]
    assert made.id in [one.id for one in movers.storage_movers.list_by_subscription()]

    assert movers.storage_movers.begin_delete("group-1", "my-mover").result() is None
    with pytest.raises(ResourceNotFoundError) as gone:
        movers.storage_movers.get("group-1", "my-mover")
    assert code_of(gone.value) == "ResourceNotFound"
    movers.storage_movers.begin_delete("group-1", "my-mover").result()


def test_endpoints_of_both_types(movers: Any, mover: str) -> None:
    group = f"/subscriptions/{movers._config.subscription_id}/resourceGroups/g"
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/acc"
    blob: Any = {
        "properties": {
            "endpointType": "azurestorageblobcontainer",
            "storageAccountResourceId": account,
            "blobContainerName": "data",
            "description": "to here",
        }
    }
    made = movers.endpoints.create_or_update("group-1", mover, "blob", blob)
    assert made.properties.endpoint_type == "AzureStorageBlobContainer"
    assert made.properties.storage_account_resource_id == account
    movers.endpoints.create_or_update("group-1", mover, "folder", local("/srv/data/", endpointKind="Source"))

    folder = movers.endpoints.get("group-1", mover, "FOLDER")
    assert folder.as_dict()["properties"]["path"] == "/srv/data"
    assert folder.properties.endpoint_kind == "Source"
    assert [one.name for one in movers.endpoints.list("group-1", mover)] == ["blob", "folder"]

    patch: Any = {"properties": {"endpointType": "AzureStorageBlobContainer", "description": "changed"}}
    changed = movers.endpoints.update("group-1", mover, "blob", patch)
    assert changed.properties.description == "changed"
    assert changed.properties.blob_container_name == "data"

    with pytest.raises(ResourceExistsError) as fixed:
        movers.endpoints.create_or_update("group-1", mover, "folder", local("/srv/other"))
    assert (fixed.value.status_code, code_of(fixed.value)) == (409, "PropertyChangeNotAllowed")
    assert target_of(fixed.value) == "properties.path"

    movers.endpoints.begin_delete("group-1", mover, "blob").result()
    assert [one.name for one in movers.endpoints.list("group-1", mover)] == ["folder"]


def test_an_agent_that_a_user_puts_is_a_placeholder(movers: Any, mover: str) -> None:
    window = {
        "days": ["Monday"],
        "startTime": {"hour": 8},
        "endTime": {"hour": 17, "minute": 30},
        "limitInMbps": 0,
    }
    body = agent(movers, mover, uploadLimitSchedule={"weeklyRecurrences": [window]}, agentStatus="Online")
    made = movers.agents.create_or_update("group-1", mover, "agent.1", body)
    assert made.properties.agent_status == "Registering"
    assert made.properties.upload_limit_schedule.weekly_recurrences[0].limit_in_mbps == 0

    changed = movers.agents.update("group-1", mover, "agent.1", {"properties": {"description": "d"}})
    assert changed.properties.description == "d"
    assert changed.properties.upload_limit_schedule is not None

    cleared = movers.agents.create_or_update(
        "group-1",
        mover,
        "agent.1",
        {
            "properties": {
                "arcResourceId": made.properties.arc_resource_id,
                "arcVmUuid": made.properties.arc_vm_uuid,
            }
        },
    )
    assert cleared.properties.upload_limit_schedule is None
    assert cleared.properties.agent_status == "Registering"

    with pytest.raises(ResourceExistsError) as taken:
        movers.agents.create_or_update("group-1", mover, "agent.2", agent(movers, mover))
    assert code_of(taken.value) == "MachineInUse"

    movers.agents.begin_delete("group-1", mover, "agent.1").result()
    assert list(movers.agents.list("group-1", mover)) == []


def test_a_job_definition_names_what_is_there(movers: Any, mover: str, project: str) -> None:
    told = job(
        sourceName="SRC",
        sourceSubpath="2024/",
        agentName="agent",
        jobType="OnPremToCloud",
        dataIntegrityValidation="None",
        preservePermissions=True,
        wherry={"exclude": ["*.tmp"], "verify": "SOURCE"},
    )
    made = movers.job_definitions.create_or_update("group-1", mover, project, "job", told).as_dict()[
        "properties"
    ]
    root = movers.storage_movers.get("group-1", mover).id
    assert made["sourceResourceId"] == f"{root}/endpoints/src"
    assert made["targetResourceId"] == f"{root}/endpoints/dst"
    assert made["agentResourceId"] == f"{root}/agents/agent"
    assert made["sourceSubpath"] == "2024"
    assert made["wherry"] == {"exclude": ["*.tmp"]}
    # Defaults are left out, as Azure does.
    assert not {"dataIntegrityValidation", "preservePermissions", "jobType", "latestJobRunName"} & set(made)

    patch: Any = {"properties": {"copyMode": "Mirror", "wherry": {"maxDelete": 5}}}
    changed = movers.job_definitions.update("group-1", mover, project, "job", patch).as_dict()["properties"]
    assert changed["copyMode"] == "Mirror"
    assert changed["wherry"] == {"exclude": ["*.tmp"], "maxDelete": 5}
    assert changed["agentName"] == "agent"

    replaced = movers.job_definitions.create_or_update("group-1", mover, project, "job", job())
    assert not {"wherry", "agentName", "agentResourceId"} & set(replaced.as_dict()["properties"])
    assert replaced.properties.source_subpath == "2024"

    assert [one.name for one in movers.job_definitions.list("group-1", mover, project)] == ["job"]
    assert list(movers.job_runs.list("group-1", mover, project, "job")) == []
    movers.job_definitions.begin_delete("group-1", mover, project, "job").result()
    assert list(movers.job_definitions.list("group-1", mover, project)) == []


def test_a_schedule_as_the_sdk_has_it(movers: Any, mover: str, project: str) -> None:
    from azure.mgmt.storagemover import models

    begin = datetime.now(UTC)
    told = models.ScheduleInfo(
        frequency="Weekly", is_active=False, execution_time=models.SchedulerTime(hour=22, minute=30),
        start_date=begin, days_of_week=["monday", "Friday"],
    )  # fmt: skip
    made = movers.job_definitions.create_or_update("group-1", mover, project, "job", job(schedule=told))
    schedule = made.properties.schedule
    assert (schedule.frequency, schedule.is_active) == ("Weekly", False)
    assert schedule.days_of_week == ["Monday", "Friday"]
    assert schedule.execution_time.minute == 30
    assert schedule.start_date == begin.replace(microsecond=0)
    # Enabling it asks for an agent that can do the work.
    patch: Any = {"properties": {"schedule": {"isActive": True}}}
    with pytest.raises(HttpResponseError) as refused:
        movers.job_definitions.update("group-1", mover, project, "job", patch)
    assert code_of(refused.value) == "AgentRequired"


def test_connections_as_the_sdk_has_them(movers: Any, mover: str, project: str) -> None:
    group = movers.storage_movers.get("group-1", mover).id.partition("/providers/")[0]
    service = f"{group}/providers/Microsoft.Network/privateLinkServices/site"
    told: Any = {"properties": {"privateLinkServiceId": service, "description": "to the site"}}
    made = movers.connections.create_or_update("group-1", mover, "site", told)
    assert (made.properties.connection_status, made.properties.description) == ("Pending", "to the site")
    assert made.type == "microsoft.storagemover/storagemovers/connections"
    assert movers.connections.get("group-1", mover, "SITE").id == made.id
    assert [one.name for one in movers.connections.list("group-1", mover)] == ["site"]
    named = movers.job_definitions.create_or_update(
        "group-1", mover, project, "job", job(connections=[made.id])
    )
    assert named.properties.connections == [made.id]
    movers.connections.begin_delete("group-1", mover, "site").result()
    assert list(movers.connections.list("group-1", mover)) == []
    assert movers.job_definitions.get("group-1", mover, project, "job").properties.connections is None
    movers.connections.begin_delete("group-1", mover, "site").result()


def test_what_lies_in_a_project_or_mover_goes_with_it(
    movers: Any, served: Served, mover: str, project: str
) -> None:
    movers.job_definitions.create_or_update("group-1", mover, project, "job", job())
    movers.projects.begin_delete("group-1", mover, project).result()
    assert {one.name for one in movers.endpoints.list("group-1", mover)} == {"src", "dst"}
    with pytest.raises(ResourceNotFoundError) as gone:
        movers.job_definitions.get("group-1", mover, project, "job")
    assert code_of(gone.value) == "ParentResourceNotFound"

    movers.storage_movers.begin_delete("group-1", mover).result()
    with pytest.raises(ResourceNotFoundError):
        list(movers.endpoints.list("group-1", mover))


def test_agent_groups_and_their_jobs(served: Served, movers: Any, mover: str, project: str) -> None:
    root = movers.storage_movers.get("group-1", mover).id
    with served.resources as client:
        put = client.resources.begin_create_or_update_by_id
        body: Any = {"properties": {"agents": ["AGENT", "agent"]}}
        made = put(f"{root}/agentGroups/pair", body, api_version=VERSION).result()
        assert made.properties["agents"] == ["agent"]
        movers.job_definitions.create_or_update(
            "group-1", mover, project, "job", job(wherry={"agentGroup": "PAIR"})
        )
        with pytest.raises(ResourceExistsError) as used:
            client.resources.begin_delete_by_id(f"{root}/agentGroups/pair", api_version=VERSION)
        assert code_of(used.value) == "AgentGroupInUse"
        movers.agents.begin_delete("group-1", mover, "agent").result()
        assert (
            client.resources.get_by_id(f"{root}/agentGroups/pair", api_version=VERSION).properties["agents"]
            == []
        )
    movers.storage_movers.begin_delete("group-1", mover).result()


def test_attack_56_lists_come_in_pages_whose_links_cannot_be_forged(
    served: Served, movers: Any, mover: str
) -> None:
    names = [f"p{number:03}" for number in range(203)]
    for name in names:
        movers.projects.create_or_update("group-1", mover, name, {})
    pages = [[one.name for one in page] for page in movers.projects.list("group-1", mover).by_page()]
    assert [len(page) for page in pages] == [100, 100, 3]
    assert [name for page in pages for name in page] == names

    root = movers.storage_movers.get("group-1", mover).id
    with rest(served) as client:
        first = client.get(f"{root}/projects?api-version={VERSION}").json()
        link = first["nextLink"]
        assert link.startswith(f"{served.url}{root}/projects?")
        assert len(client.get(link).json()["value"]) == 100
        forged = [
            link[:-2] + ("AA" if link[-2:] != "AA" else "BB"),
            link.replace("/projects?", "/endpoints?"),
        ]
        for bad in [*forged, f"{root}/projects?api-version={VERSION}&$skipToken=x"]:
            answer = client.get(bad)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidSkipToken")
    movers.storage_movers.begin_delete("group-1", mover).result()


def test_a_slow_delete_is_polled_where_the_answer_says(served: Served, movers: Any, mover: str) -> None:
    root = movers.storage_movers.get("group-1", mover).id
    with rest(served) as client:
        answer = client.delete(f"{root}?api-version={VERSION}")
        assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (202, "null", "1")
        link = answer.headers["azure-asyncoperation"]
        assert link == answer.headers["location"]
        assert "/providers/Microsoft.StorageMover/locations/WESTEUROPE/operationStatuses/" in link
        told = client.get(link).json()
        assert (told["status"], told["resourceId"], told["properties"]) == ("Succeeded", root, None)
        assert client.get(link.replace("operationStatuses/", "operationStatuses/0")).status_code == 404
        assert client.delete(f"{root}?api-version={VERSION}").status_code == 204


def test_conditions_on_etags(served: Served, movers: Any, mover: str) -> None:
    root = movers.storage_movers.get("group-1", mover).id
    with rest(served) as client:
        url = f"{root}?api-version={VERSION}"
        etag = client.get(url).headers["etag"]
        body = {"location": "westeurope"}
        assert client.put(url, json=body, headers={"If-None-Match": "*"}).status_code == 412
        second = client.put(url, json=body, headers={"If-Match": etag})
        assert second.status_code == 200
        assert second.headers["etag"] != etag
        stale = client.delete(url, headers={"If-Match": etag})
        assert (stale.status_code, stale.json()["error"]["code"]) == (412, "PreconditionFailed")


def test_starting_and_stopping_say_what_is_in_the_way(movers: Any, mover: str, project: str) -> None:
    movers.job_definitions.create_or_update("group-1", mover, project, "job", job(agentName="agent"))
    with pytest.raises(ResourceExistsError) as refused:
        movers.job_definitions.start_job("group-1", mover, project, "job")
    assert code_of(refused.value) == "AgentNotRegistered"
    with pytest.raises(ResourceExistsError) as refused:
        movers.job_definitions.stop_job("group-1", mover, project, "job")
    assert code_of(refused.value) == "JobNotRunning"
    with pytest.raises(ResourceNotFoundError) as gone:
        movers.job_definitions.start_job("group-1", mover, project, "other")
    assert code_of(gone.value) == "ResourceNotFound"


def test_operations_of_the_provider(movers: Any) -> None:
    names = {one.name for one in movers.operations.list()}
    assert "Microsoft.StorageMover/storageMovers/projects/jobDefinitions/startJob/action" in names
    assert "Microsoft.StorageMover/storageMovers/endpoints/write" in names


def test_the_example_runs(served: Served) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "examples" / "resources.py")],
        env={"PATH": "/usr/bin:/bin", **served.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed = []
    with process.stdout:
        for line in process.stdout:
            printed.append(line)
            if code := re.search(r"enter the code ([A-Z0-9-]+)", line):
                breakglass.approve(served.state, code[1])
    assert process.wait(60) == 0, "".join(printed)
    text = "".join(printed)
    assert "refused    400 InvalidProperty" in text
    assert re.search(r"^deleted example-", text, re.MULTILINE)


def rest(served: Served) -> httpx.Client:
    """A plain client, for what Azure's does not show."""
    import ssl

    return httpx.Client(
        base_url=served.url,
        verify=ssl.create_default_context(cafile=served.ca_file),
        headers={"Authorization": f"Bearer {served.token()}"},
    )
