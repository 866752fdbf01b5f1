"""Api-versions: what a newer one brought is neither shown to an older one nor lost by its writes; and connections."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.control.stage import GROUP, MOVER, Stage
from wherry.control.services import principals, resource_store, resources, role_assignments, runs
from wherry.control.services.types import versions
from wherry.control.services.types.registry import Target, target
from wherry.control.services.types.storage_mover import API_VERSIONS, JOB_DEFINITION, JOB_RUN, TYPES
from wherry.model.errors import ApiError
from wherry.trust.roles import READER

SCHEDULE = {"frequency": "Hourly", "startDate": "2027-01-20T00:00:00Z", "repeatInterval": "PT6H"}
NEWEST, OLD = "2026-05-01", "2025-07-01"
SERVICE = f"{GROUP}/providers/Microsoft.Network/privateLinkServices/s"


def at(path: str, version: str) -> Target:
    found = target(path)
    return Target(found.type, found.id, version)


def shown(stage: Stage, path: str, version: str = "") -> dict[str, Any]:
    return dict(resources.get(stage.conn, at(path, version)).body["properties"])


def written(stage: Stage, path: str, properties: dict[str, Any], version: str) -> dict[str, Any]:
    body = {"properties": properties}
    return dict(resources.put(stage.conn, stage.caller, at(path, version), body).body["properties"])


@pytest.fixture
def job(stage: Stage) -> str:
    return stage.job(schedule=SCHEDULE, dataIntegrityValidation="SaveFileMD5", preservePermissions=False)


def test_what_is_newer_is_not_shown(stage: Stage, job: str) -> None:
    assert shown(stage, job)["schedule"] == shown(stage, job, NEWEST)["schedule"] == SCHEDULE
    assert "repeatInterval" not in shown(stage, job, "2025-12-01")["schedule"]
    assert {"schedule", "preservePermissions"} & set(shown(stage, job, "2025-08-01")) == set()
    assert shown(stage, job, "2025-08-01")["dataIntegrityValidation"] == "SaveFileMD5"
    assert "dataIntegrityValidation" not in shown(stage, job, OLD)
    listed = resources.list_in(
        stage.conn, at(job.rpartition("/jobDefinitions/")[0], OLD), JOB_DEFINITION, "", 9
    )
    assert ["schedule" in one["properties"] for one in listed.items] == [False]


def test_a_client_of_an_older_version_that_writes_back_what_it_has_read_takes_nothing_away(
    stage: Stage, job: str
) -> None:
    for version in ("2023-03-01", OLD, "2025-08-01", "2025-12-01"):
        told = shown(stage, job, version) | {"description": version}
        answer = written(stage, job, told, version)
        assert answer == shown(stage, job, version)
        assert shown(stage, job)["schedule"] == SCHEDULE
        assert shown(stage, job)["preservePermissions"] is False
    # What it does not know it cannot set either.
    written(stage, job, shown(stage, job) | {"schedule": {"frequency": "None"}}, OLD)
    patch = {"properties": {"schedule": None, "description": None}}
    resources.patch(stage.conn, stage.caller, at(job, OLD), patch)
    assert shown(stage, job)["schedule"] == SCHEDULE
    assert "description" not in shown(stage, job)
    assert "schedule" not in written(stage, job, shown(stage, job, OLD), NEWEST)


def test_every_field_that_came_later_is_known() -> None:
    # What only answers hold is no field.
    answered = {"timeZone", "identity", "triggerType", "scheduledExecutionTime", "warnings"}
    for kind in TYPES:
        known = {one.name for one in kind.fields} | answered
        assert {name.partition(".")[0] for name in kind.since} <= known
        assert set(kind.since.values()) <= set(API_VERSIONS)
    assert versions.hidden(JOB_RUN, "2025-12-01") == versions.hidden(JOB_RUN, "") == ()
    assert "triggerType" in versions.hidden(JOB_RUN, "2022-07-01-preview")


def test_a_connection_waits_and_stays_as_it_was_made(stage: Stage) -> None:
    path = f"{MOVER}/connections/c"
    made = written(stage, path, {"privateLinkServiceId": SERVICE, "description": "first"}, "")
    assert made["connectionStatus"] == "Pending"
    assert made["privateEndpointName"].startswith("c-")
    assert written(stage, path, {"privateLinkServiceId": SERVICE, "description": "second"}, "") == made
    for wrong in ({}, {"privateLinkServiceId": MOVER}, {"privateLinkServiceId": "x"}):
        with pytest.raises(ApiError) as refused:
            written(stage, f"{MOVER}/connections/d", wrong, "")
        assert refused.value.target == "properties.privateLinkServiceId"


def test_a_connection_that_a_running_job_names_stays(stage: Stage) -> None:
    path = f"{MOVER}/connections/c"
    stage.put(path, {"privateLinkServiceId": SERVICE})
    stage.agent("a")
    job = stage.job(agentName="a", connections=[path.upper().replace("/SUB", "/sub"), path])
    assert shown(stage, job)["connections"] == [path]
    with pytest.raises(ApiError) as unknown:
        stage.job(agentName="a", connections=[f"{MOVER}/connections/none"])
    assert (unknown.value.code, unknown.value.target) == ("ConnectionNotFound", "properties.connections[0]")
    stage.start(job)
    with pytest.raises(ApiError) as used:
        resources.delete(stage.conn, stage.caller, target(path))
    assert (used.value.status, used.value.code) == (409, "ConnectionInUse")
    stage.stop(job)
    gone = resources.delete(stage.conn, stage.caller, target(path))
    assert gone is not None
    assert gone.operation is not None
    assert "connections" not in shown(stage, job)


def test_a_run_is_looked_at_anew(stage: Stage) -> None:
    stage.agent("a")
    job = stage.job(agentName="a")
    with pytest.raises(ApiError) as none:
        runs.reconcile(stage.conn, stage.caller, job)
    assert (none.value.status, none.value.code) == (409, "JobNotRunning")
    run = stage.start(job)
    assert runs.reconcile(stage.conn, stage.caller, job).endswith(run)
    assert not stage.run(run).ended
    found = resource_store.find(stage.conn, job)
    assert found is not None


def test_an_endpoint_has_an_identity_as_long_as_it_is_asked_for(stage: Stage) -> None:
    path = f"{MOVER}/endpoints/e"
    body: dict[str, Any] = {"properties": {"endpointType": "LocalMount", "path": "/a"}}
    system = body | {"identity": {"type": "systemassigned"}}

    def put(told: dict[str, Any], version: str = NEWEST) -> Any:
        return resources.put(stage.conn, stage.caller, at(path, version), told).body.get("identity")

    made = put(system)
    assert (made["type"], made["tenantId"]) == ("SystemAssigned", "tenant")
    assert put(system) == put(body) == made
    assert put(body | {"identity": {"type": "None"}}, "2024-07-01") is None
    assert resources.get(stage.conn, at(path, OLD)).body["identity"] == made
    assert principals.find(stage.conn, made["principalId"]) is not None
    name = stage.assign(READER.guid, made["principalId"], MOVER)
    assert resources.patch(stage.conn, stage.caller, target(path), {}).body["identity"] == made
    assert put(body | {"identity": {"type": "None"}}) == {"type": "None"}
    assert principals.find(stage.conn, made["principalId"]) is None
    assert role_assignments.get(stage.conn, name) is None
    other = put(system)
    assert other["principalId"] != made["principalId"]
    resources.delete(stage.conn, stage.caller, target(path))
    assert principals.find(stage.conn, other["principalId"]) is None
    with pytest.raises(ApiError) as refused:
        put(body | {"identity": {"type": "UserAssigned"}})
    assert refused.value.target == "identity.type"


@pytest.mark.parametrize(
    "told",
    [
        {"endpointType": "NfsMount", "host": "nfs", "export": "/x", "nfsVersion": "NFSv4"},
        {"endpointType": "AzureStorageNfsFileShare", "storageAccountResourceId": f"{GROUP}/providers/"
         "Microsoft.Storage/storageAccounts/a", "fileShareName": "s"},
        {"endpointType": "AzureMultiCloudConnector", "multiCloudConnectorId": "c", "awsS3BucketId": "b"},
    ],
)  # fmt: skip
def test_endpoints_of_kinds_that_no_job_copies_yet(stage: Stage, told: dict[str, Any]) -> None:
    path = f"{MOVER}/endpoints/e"
    assert written(stage, path, told, "").items() >= told.items()
    stage.put(f"{MOVER}/endpoints/local", {"endpointType": "LocalMount", "path": "/a"})
    job = {"copyMode": "Additive", "sourceName": "e", "targetName": "local"}
    with pytest.raises(ApiError) as refused:
        stage.put(f"{MOVER}/projects/p/jobDefinitions/j", job)
    assert refused.value.code == "NotServedYet"
