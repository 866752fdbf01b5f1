"""What the resource API says to requests that make no sense, and to those that mean harm."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.served import Served, serving

MOVERS = "/providers/Microsoft.StorageMover/storageMovers"
V = {"api-version": "2025-12-01"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("plane") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    trust = ssl.create_default_context(cafile=served.ca_file)
    headers = {"Authorization": f"Bearer {served.token()}"}
    with httpx.Client(base_url=served.url, verify=trust, headers=headers, params=V) as made:
        yield made


@pytest.fixture(scope="module")
def group(served: Served, client: httpx.Client) -> str:
    path = f"/subscriptions/{served.subscription}/resourceGroups/errors"
    assert client.put(path, json={"location": "local"}).status_code == 201
    assert client.put(path, json={"location": "local"}).status_code == 200
    return path


@pytest.fixture(scope="module")
def mover(client: httpx.Client, group: str) -> str:
    path = f"{group}{MOVERS}/m"
    assert client.put(path, json={"location": "local"}).status_code == 200
    for name, folder in (("src", "/a"), ("dst", "/b")):
        properties = {"endpointType": "LocalMount", "path": folder}
        assert client.put(f"{path}/endpoints/{name}", json={"properties": properties}).status_code == 200
    target = {"properties": properties | {"endpointKind": "Target"}}
    assert client.put(f"{path}/endpoints/only-target", json=target).status_code == 200
    assert client.put(f"{path}/projects/p", json={}).status_code == 200
    return path


def refusal(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert error["message"]
    return answer.status_code, error["code"], error.get("target")


ACCOUNTS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts"
ENDPOINTS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "MissingProperty", "properties.endpointType"),
    ({"endpointType": "Tape"}, "InvalidProperty", "properties.endpointType"),
    ({"endpointType": 7}, "InvalidProperty", "properties.endpointType"),
    ({"endpointType": "NfsMount", "host": "h"}, "MissingProperty", "properties.export"),
    (
        {"endpointType": "NfsMount", "host": "h", "export": "e", "nfsVersion": "NFSv2"},
        "InvalidProperty",
        "properties.nfsVersion",
    ),
    (
        {"endpointType": "AzureStorageNfsFileShare"},
        "MissingProperty",
        "properties.storageAccountResourceId",
    ),
    ({"endpointType": "AzureMultiCloudConnector"}, "MissingProperty", "properties.multiCloudConnectorId"),
    ({"endpointType": "LocalMount"}, "MissingProperty", "properties.path"),
    ({"endpointType": "LocalMount", "path": None}, "MissingProperty", "properties.path"),
    ({"endpointType": "LocalMount", "path": ["/a"]}, "InvalidProperty", "properties.path"),
    ({"endpointType": "LocalMount", "path": "relative"}, "InvalidProperty", "properties.path"),
    ({"endpointType": "LocalMount", "path": "/a/../etc"}, "InvalidProperty", "properties.path"),
    ({"endpointType": "LocalMount", "path": "/a//b"}, "InvalidProperty", "properties.path"),
    ({"endpointType": "LocalMount", "path": "/a\0b"}, "InvalidProperty", "properties.path"),
    ({"endpointType": "LocalMount", "path": "/" + "a" * 4096}, "InvalidProperty", "properties.path"),
    (
        {"endpointType": "LocalMount", "path": "/a", "endpointKind": "Both"},
        "InvalidProperty",
        "properties.endpointKind",
    ),
    (
        {"endpointType": "LocalMount", "path": "/a", "description": "x" * 1025},
        "InvalidProperty",
        "properties.description",
    ),
    (
        {"endpointType": "AzureStorageBlobContainer", "blobContainerName": "ok-name"},
        "MissingProperty",
        "properties.storageAccountResourceId",
    ),
    (
        {
            "endpointType": "AzureStorageBlobContainer",
            "storageAccountResourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/x",
            "blobContainerName": "ok-name",
        },
        "InvalidProperty",
        "properties.storageAccountResourceId",
    ),
    (
        {
            "endpointType": "AzureStorageBlobContainer",
            "storageAccountResourceId": f"{ACCOUNTS}/x",
            "blobContainerName": "No_Name",
        },
        "InvalidProperty",
        "properties.blobContainerName",
    ),
]


@pytest.mark.parametrize(("properties", "code", "target"), ENDPOINTS)
def test_an_endpoint_that_does_not_fit(
    client: httpx.Client, mover: str, properties: dict[str, Any], code: str, target: str
) -> None:
    answer = client.put(f"{mover}/endpoints/bad", json={"properties": properties})
    assert refusal(answer) == (400, code, target)
    assert client.get(f"{mover}/endpoints/bad").status_code == 404


FITS = {"copyMode": "Additive", "sourceName": "src", "targetName": "dst"}
JOBS: list[tuple[dict[str, Any], str, str]] = [
    ({"copyMode": None}, "MissingProperty", "properties.copyMode"),
    ({"copyMode": "Sync"}, "InvalidProperty", "properties.copyMode"),
    ({"sourceName": ""}, "MissingProperty", "properties.sourceName"),
    ({"sourceName": "nowhere"}, "EndpointNotFound", "properties.sourceName"),
    ({"targetName": "../m/endpoints/dst"}, "EndpointNotFound", "properties.targetName"),
    ({"sourceName": "only-target"}, "EndpointKindMismatch", "properties.sourceName"),
    ({"targetName": "SRC"}, "InvalidProperty", "properties.targetName"),
    ({"sourceSubpath": "a/../b"}, "InvalidProperty", "properties.sourceSubpath"),
    ({"targetSubpath": "a\\b"}, "InvalidProperty", "properties.targetSubpath"),
    ({"agentName": "nobody"}, "AgentNotFound", "properties.agentName"),
    ({"wherry": {"agentGroup": "none"}}, "AgentGroupNotFound", "properties.wherry.agentGroup"),
    ({"wherry": {"agentGroup": 1}}, "InvalidProperty", "properties.wherry.agentGroup"),
    ({"wherry": {"mode": "Mirror"}}, "InvalidProperty", "properties.wherry.mode"),
    ({"wherry": {"excluded": []}}, "InvalidProperty", "properties.wherry"),
    ({"wherry": {"maxDelete": -1}}, "InvalidProperty", "properties.wherry"),
    ({"wherry": []}, "InvalidProperty", "properties.wherry"),
    ({"jobType": "CloudToCloud"}, "NotServedYet", "properties.jobType"),
    ({"schedule": {"frequency": "Daily", "isActive": True}}, "InvalidProperty", "properties.schedule"),
    ({"preservePermissions": "yes"}, "InvalidProperty", "properties.preservePermissions"),
]


@pytest.mark.parametrize(("change", "code", "target"), JOBS)
def test_a_job_that_does_not_fit(
    client: httpx.Client, mover: str, change: dict[str, Any], code: str, target: str
) -> None:
    answer = client.put(f"{mover}/projects/p/jobDefinitions/bad", json={"properties": FITS | change})
    assert refusal(answer) == (400, code, target)
    assert client.get(f"{mover}/projects/p/jobDefinitions/bad").status_code == 404


def test_what_lies_in_nothing(client: httpx.Client, served: Served, mover: str, group: str) -> None:
    subscription = f"/subscriptions/{served.subscription}"
    elsewhere = f"/subscriptions/{uuid.uuid4()}/resourceGroups/g{MOVERS}/m"
    cases = [
        (f"{subscription}/resourceGroups/none", "ResourceGroupNotFound"),
        (f"{subscription}/resourceGroups/none{MOVERS}/m", "ResourceGroupNotFound"),
        (f"{subscription}/resourceGroups/none{MOVERS}", "ResourceGroupNotFound"),
        (f"{group}{MOVERS}/none", "ResourceNotFound"),
        (f"{group}{MOVERS}/none/projects", "ParentResourceNotFound"),
        (f"{group}{MOVERS}/none/projects/p", "ParentResourceNotFound"),
        (f"{mover}/projects/none/jobDefinitions", "ParentResourceNotFound"),
        (f"{mover}/agents/none", "ResourceNotFound"),
        (elsewhere, "SubscriptionNotFound"),
        (f"{group}/providers/Microsoft.Compute/virtualMachines/x", "NotFound"),
    ]
    for path, code in cases:
        assert refusal(client.get(path))[:2] == (404, code), path
    made = client.put(f"{group}{MOVERS}/none/projects/p", json={})
    assert refusal(made) == (404, "ParentResourceNotFound", None)
    assert client.delete(f"{group}{MOVERS}/none").status_code == 204
    assert client.delete(f"{mover}/agents/none").status_code == 204


@pytest.mark.parametrize("name", ["-a", "a" * 65, "a.b", "a b", "ä"])
def test_names_that_are_not_allowed(client: httpx.Client, group: str, mover: str, name: str) -> None:
    assert refusal(client.put(f"{group}{MOVERS}/{name}", json={"location": "local"}))[:2] == (
        400,
        "InvalidResourceName",
    )


@pytest.mark.parametrize(
    "path",
    ["{0}/endpoints/a%2Fb", "{0}/endpoints/..%2fb", "{0}//endpoints/a", "{0}/endpoints/a%3Fb",
     "{0}/endpoints/a%23b", "{0}/endpoints/a%25b", "{0}/endpoints/%00", "{0}/endpoints/%2e%2e"],
)  # fmt: skip
def test_paths_that_mean_two_things(client: httpx.Client, mover: str, path: str) -> None:
    raw = httpx.URL(str(client.base_url)).copy_with(
        raw_path=path.format(mover).encode() + b"?api-version=2025-12-01"
    )
    body = {"properties": {"endpointType": "LocalMount", "path": "/a"}}
    assert refusal(client.send(client.build_request("PUT", raw, json=body)))[:2] == (400, "InvalidResourceId")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"[" * 100_000,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b"\xff",
        b'{"a": 1' + b"0" * 5000 + b"}",
    ],
)
def test_bodies_that_are_no_object(client: httpx.Client, mover: str, content: bytes) -> None:
    answer = client.put(
        f"{mover}/projects/bad", content=content, headers={"content-type": "application/json"}
    )
    assert refusal(answer)[:2] == (400, "InvalidRequestContent")


def test_the_shape_around_properties(client: httpx.Client, mover: str) -> None:
    cases: list[tuple[dict[str, Any], int, str, str]] = [
        ({}, 400, "LocationRequired", "location"),
        ({"location": 5}, 400, "LocationRequired", "location"),
        ({"location": "a/b"}, 400, "InvalidProperty", "location"),
        ({"location": "elsewhere"}, 409, "InvalidResourceLocation", "location"),
        ({"location": "local", "tags": []}, 400, "InvalidProperty", "tags"),
        ({"location": "local", "tags": {"a": 1}}, 400, "InvalidProperty", "tags.a"),
        ({"location": "local", "properties": 1}, 400, "InvalidProperty", "properties"),
        ({"location": "local", "properties": []}, 400, "InvalidProperty", "properties"),
        (
            {"location": "local", "properties": {"description": []}},
            400,
            "InvalidProperty",
            "properties.description",
        ),
    ]
    for body, status, code, target in cases:
        assert refusal(client.put(mover, json=body)) == (status, code, target), body
    identity = {
        "properties": {"endpointType": "LocalMount", "path": "/a"},
        "identity": {"type": "UserAssigned"},
    }
    assert refusal(client.put(f"{mover}/endpoints/i", json=identity)) == (
        400,
        "NotServedYet",
        "identity.type",
    )


def test_what_only_the_service_sets_is_ignored(client: httpx.Client, mover: str) -> None:
    mine = {
        "id": "/x", "name": "x", "type": "x", "etag": "x", "systemData": {"createdBy": "me"}, "unknown": 1,
        "properties": {"provisioningState": "Failed", "description": "d", "principalId": "p"},
    }  # fmt: skip
    made = client.put(f"{mover}/projects/ignored", json=mine).json()
    assert made["name"] == "ignored"
    assert made["systemData"]["createdBy"] == "admin"
    assert made["properties"] == {"description": "d", "provisioningState": "Succeeded"}
    assert "unknown" not in made


def test_api_versions(client: httpx.Client, mover: str) -> None:
    for version in ("2022-07-01-preview", "2023-03-01", "2024-07-01", "2025-07-01", "2026-05-01"):
        assert client.get(mover, params={"api-version": version}).status_code == 200
    bare = httpx.URL(str(client.base_url) + mover)
    answer = client.send(httpx.Request("GET", bare, headers=client.headers))
    assert refusal(answer)[:2] == (400, "MissingApiVersionParameter")
    assert refusal(client.get(mover, params={"api-version": "latest"}))[1] == "InvalidApiVersionParameter"
    assert refusal(client.get(mover, params={"api-version": "2021-01-01"}))[1] == "NoRegisteredProviderFound"


def test_upload_schedules(client: httpx.Client, group: str, mover: str) -> None:
    machine = f"{group}/providers/Microsoft.HybridCompute/machines/scheduled"
    window = {"days": ["Monday"], "startTime": {"hour": 8}, "endTime": {"hour": 9}, "limitInMbps": 5}
    cases: list[tuple[list[dict[str, Any]], str]] = [
        ([window | {"endTime": {"hour": 8}}], "[0].endTime"),
        ([window | {"endTime": {"hour": 24, "minute": 30}}], "[0].endTime"),
        ([window | {"startTime": {"hour": 8, "minute": 15}}], "[0].startTime.minute"),
        ([window | {"days": ["Monday", "monday"]}], "[0].days"),
        ([window | {"days": ["Funday"]}], "[0].days[0]"),
        ([window | {"limitInMbps": -1}], "[0].limitInMbps"),
        ([window | {"limitInMbps": True}], "[0].limitInMbps"),
        ([window, window | {"startTime": {"hour": 8, "minute": 30}}], "[1]"),
    ]
    for recurrences, where in cases:
        schedule = {"weeklyRecurrences": recurrences}
        properties = {
            "arcResourceId": machine,
            "arcVmUuid": str(uuid.uuid4()),
            "uploadLimitSchedule": schedule,
        }
        answer = client.put(f"{mover}/agents/scheduled", json={"properties": properties})
        status, _, target = refusal(answer)
        assert (status, target) == (400, f"properties.uploadLimitSchedule.weeklyRecurrences{where}")


def test_without_a_token_nothing_is_shown(served: Served, mover: str) -> None:
    trust = ssl.create_default_context(cafile=served.ca_file)
    with httpx.Client(base_url=served.url, verify=trust, params=V) as nobody:
        for path in (mover, f"{mover}/agents", "/subscriptions", "/tenants", f"{mover}/nothing/there"):
            answer = nobody.get(path)
            assert answer.status_code in (401, 404)
            assert answer.status_code == 401 or path.endswith("there")
