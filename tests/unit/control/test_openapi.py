"""The OpenAPI document tells of every route, and tells the truth: about versions, errors, bodies and who may."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.control.callers import AGENT, ARM, VAULT, Cast, door
from tests.unit.control.casting import assembled, at_work
from tests.unit.control.conftest import URL, Made, app_of
from tests.unit.control.test_routes import ASKED, ROWS
from wherry.cli.main import call
from wherry.control import openapi
from wherry.control.areas import AREAS

DOCUMENT = openapi.document(one for area in AREAS for one in area.declared)
OPERATIONS = {
    (method, path): one for path, there in DOCUMENT["paths"].items() for method, one in there.items()
}


@pytest.fixture(scope="module")
def cast(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with assembled(made, tmp_path_factory.mktemp("openapi")) as cast:
        yield cast


def operation(route: str) -> dict[str, Any]:
    method, path = route.split(" ", 1)
    return OPERATIONS[(method.lower(), path.replace(":path", ""))]


def has_version(told: dict[str, Any]) -> bool:
    return any(one["name"] == "api-version" and one["required"] for one in told["parameters"])


def test_every_route_is_in_it_with_its_parameters_its_error_and_who_may() -> None:
    assert len(OPERATIONS) == len(ROWS)
    for route in ROWS:
        told = operation(route)
        error = told["responses"]["default"]["content"]["application/json"]["schema"]["$ref"]
        assert error in ("#/components/schemas/Error", "#/components/schemas/TokenError")
        assert told["summary"].strip()
        named = [one["name"] for one in told["parameters"] if one["in"] == "path"]
        assert named == re.findall(r"\{(\w+)", route)
        asked = ASKED[route].partition("@")[0].removesuffix("#data")
        assert asked in (told.get("x-wherry-action"), told["x-wherry-access"])
        assert (told["security"] == [{}]) == (asked == "public")


def test_names_of_operations_are_unique_and_no_two_paths_mean_the_same() -> None:
    names = Counter(one["operationId"] for one in OPERATIONS.values())
    assert [name for name, count in names.items() if count > 1 or not re.fullmatch(r"\w+", name)] == []
    shapes = Counter(re.sub(r"\{\w+\}", "{}", path) for path in DOCUMENT["paths"])
    assert max(shapes.values()) == 1


def test_what_is_referred_to_is_there() -> None:
    text = json.dumps(DOCUMENT)
    there = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(re.findall(r'"\$ref": "([^"]+)"', text)) <= there
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert all(name in schemes for one in OPERATIONS.values() for told in one["security"] for name in told)


def test_requests_are_told_as_they_are_checked() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    endpoint = schemas["StorageMover_storageMovers_endpointsRequest"]["properties"]["properties"]
    (bucket,) = [
        one for one in endpoint["anyOf"] if one["properties"]["endpointType"] == {"const": "S3WithHMAC"}
    ]
    assert "sourceUri" in bucket["required"]
    assert schemas["StorageMover_storageMoversRequest"]["required"] == ["location"]
    job = operation(
        "PUT " + next(route for route in ROWS if route.endswith("jobDefinitions/{name}"))[4:].strip()
    )
    assert job["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "jobDefinitionsRequest"
    )


async def test_an_api_version_is_told_where_it_is_demanded_and_nowhere_else(
    cast: Cast, tmp_path: Path
) -> None:
    transport, wrong = httpx.ASGITransport(app_of(cast.plane), client=("192.0.2.7", 1)), []
    with at_work(cast.plane, tmp_path):
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            for route in ROWS:
                if door(route) == AGENT:
                    assert not has_version(operation(route))
                    continue
                demanded = await _demands_version(client, cast, route)
                if demanded != has_version(operation(route)):
                    wrong.append(route)
    assert wrong == []


async def _demands_version(client: httpx.AsyncClient, cast: Cast, route: str) -> bool:
    method, path = route.split(" ", 1)
    for name, value in cast.names.items():
        path = path.replace(f"{{{name}}}", value)
    # Nobody else reads secrets.
    who = cast.callers["secrets" if door(route) == VAULT else "owner"]
    token = who.tokens.get(door(route) or ARM, "")
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    answer = await client.request(method, path, headers=headers, content=b"{}")
    if method == "HEAD" and "resourceGroups" in path:
        return answer.status_code == 400
    code = "BadParameter" if door(route) == VAULT else "MissingApiVersionParameter"
    return answer.status_code == 400 and code in answer.text and "api-version" in answer.text


async def test_anybody_gets_it_and_the_program_prints_the_same(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    served = await client.get("/openapi.json")
    assert served.headers["content-type"] == "application/json"
    assert served.json() == DOCUMENT
    assert call(["api"]) == 0
    assert json.loads(capsys.readouterr().out) == DOCUMENT
