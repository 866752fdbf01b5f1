"""What is sent to the API to get elsewhere: tokens of pages that are not ours, subpaths, other kinds of content."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.unit.control.attacked import Target, attacked
from tests.unit.control.conftest import START, URL, Made, app_of
from wherry.control.arm import paging
from wherry.control.services import users
from wherry.trust.keys import MasterKey

MOVERS = "/providers/Microsoft.StorageMover/storageMovers"
VERSION = "api-version=2025-12-01"


@pytest.fixture(scope="module")
def target(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with attacked(made, tmp_path_factory.mktemp("attacked")) as found:
        with found.plane.database.transaction() as conn:
            users.create(conn, "other", "Other", "long enough password", START)
        yield found


@dataclass
class Api:
    """The API as its owner sees it, with a mover in it."""

    client: httpx.AsyncClient
    target: Target
    mover: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        told = {**self.headers, **more.pop("headers", {})}
        mark = "&" if "?" in path else "?"
        where = path if path.startswith("/graph") or "api-version" in path else f"{path}{mark}{VERSION}"
        return await self.client.request(method, where, headers=told, **more)

    async def put(self, path: str, properties: Any, **more: Any) -> httpx.Response:
        return await self.send("PUT", path, json={"properties": properties, **more})


@pytest.fixture
async def api(target: Target) -> AsyncIterator[Api]:
    transport = httpx.ASGITransport(app_of(target.plane))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        made = Api(client, target, headers={"authorization": f"Bearer {target.genuine}"})
        group = f"/subscriptions/{target.plane.subscription}/resourceGroups/g"
        made.mover = f"{group}{MOVERS}/m"
        for path in (group, made.mover):
            assert (await made.put(path, {}, location="local")).status_code in (200, 201)
        for name in ("p", "q"):
            assert (await made.put(f"{made.mover}/projects/{name}", {})).status_code == 200
        for name in ("s", "t"):
            folder = {"endpointType": "LocalMount", "path": f"/{name}"}
            assert (await made.put(f"{made.mover}/endpoints/{name}", folder)).status_code == 200
        yield made


# ---------------------------------------------------------------- tokens of pages


def lists(api: Api) -> list[str]:
    """Every kind of list that has pages."""
    group, audit = api.mover.partition(MOVERS)[0], "/providers/Microsoft.Insights/eventtypes/audit/values"
    everywhere = f"/subscriptions/{api.target.plane.subscription}"
    return [
        f"{everywhere}/resourceGroups", f"{everywhere}{MOVERS}", f"{group}{MOVERS}", f"{api.mover}/projects",
        f"{api.mover}/endpoints", f"{api.mover}/agents", f"{api.mover}/projects/p/jobDefinitions",
        f"{group}/providers/Microsoft.HybridCompute/machines",
        f"{group}/providers/Microsoft.KeyVault/vaults?api-version=2023-07-01",
        f"{audit}?api-version=2015-04-01", "/graph/v1.0/users", "/graph/v1.0/groups", "/graph/v1.0/servicePrincipals",
    ]  # fmt: skip


async def with_token(api: Api, path: str, name: str, told: str) -> httpx.Response:
    return await api.send("GET", f"{path}{'&' if '?' in path else '?'}{name}={quote(told, safe='')}")


async def test_attack_56_tokens_of_pages_that_are_not_of_this_list_are_refused(api: Api) -> None:
    """Of another tenant, of another list, changed, made up: the same answer in every list, whatever the spelling."""
    other, own = MasterKey.generate(), api.target.plane.master
    for path in lists(api):
        collection = f"{path.partition('?')[0]}?"
        ours = paging.token(own, collection, "")
        changed = ("B" if ours[5] != "B" else "C").join((ours[:5], ours[6:]))
        forged = [
            paging.token(other, collection, ""), paging.token(own, "/somewhere/else?", ""), changed, ours[:-3],
            "", "x" * 5000, "../../etc/passwd", "' OR 1=1 --",
        ]  # fmt: skip
        for told, name in zip(forged, itertools.cycle(("$skiptoken", "$skipToken")), strict=False):
            answer = await with_token(api, path, name, told)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidSkipToken"), (
                path,
                told,
            )


@pytest.mark.parametrize("name", ["$skiptoken", "$skipToken"])
async def test_tokens_that_lists_gave_bring_the_next_page(
    api: Api, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "SIZE", 1)
    for path in (f"{api.mover}/projects", "/graph/v1.0/users?$top=1"):
        page = (await api.send("GET", path)).json()
        link = page.get("nextLink") or page["@odata.nextLink"]
        told = httpx.URL(link).params["$skiptoken"]
        following = (await with_token(api, path, name, told)).json()
        assert len(following["value"]) == 1
        assert following["value"] != page["value"]


# ---------------------------------------------------------------- subpaths

LEADS_ELSEWHERE = (
    "..", "../", "../x", "a/../../x", "a/..", ".", "a/./b", "a//b", "/etc/passwd", "//host/share", "/../x", "a\0b",
    "a\\b", "..\\x", "C:\\x", "%2e%2e", "a/%2E%2e/b", "%2e%2e%2fx", "..%2fx", "a%00b", "a%5c..%5cb", "a/%2e",
    "x" * 4096, "\u00e4" * 2048,
)  # fmt: skip


@pytest.mark.parametrize("side", ["sourceSubpath", "targetSubpath"])
async def test_attack_57_subpaths_that_could_lead_elsewhere_are_refused(api: Api, side: str) -> None:
    job = f"{api.mover}/projects/p/jobDefinitions/bad"
    whole = {"copyMode": "Additive", "sourceName": "s", "targetName": "t"}
    for told in LEADS_ELSEWHERE:
        answer = await api.put(job, whole | {side: told})
        assert answer.status_code == 400, told
        error = answer.json()["error"]
        assert (error["code"], error["target"]) == ("InvalidProperty", f"properties.{side}"), told
    start = (
        b'{"properties": {"copyMode": "Additive", "sourceName": "s", "targetName": "t", "%s": "'
        % side.encode()
    )
    # No text at all: dots and slashes in more bytes than they have.
    for raw in (b"\xc0\xae\xc0\xae\xc0\xafx", b"\xe0\x80\xae", b"\\ud800"):
        answer = await api.send(
            "PUT", job, content=start + raw + b'"}}', headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent"), raw
    assert (await api.send("GET", job)).status_code == 404


async def test_subpaths_that_are_what_they_say_are_kept(api: Api) -> None:
    whole = {"copyMode": "Additive", "sourceName": "s", "targetName": "t"}
    fine = {"/": None, "": None, "a/b/": "a/b", "...": "...", ".x": ".x", "100%": "100%", "%41": "%41"}
    for number, (told, kept) in enumerate(fine.items()):
        answer = await api.put(
            f"{api.mover}/projects/p/jobDefinitions/good-{number}", whole | {"sourceSubpath": told}
        )
        assert (answer.status_code, answer.json()["properties"].get("sourceSubpath")) == (200, kept)


# ---------------------------------------------------------------- kinds of content


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "x",
    ],
)
async def test_attack_62_what_a_form_of_another_page_could_send_is_no_request(api: Api, kind: str) -> None:
    """JSON in the clothes of what browsers send to anybody without asking: refused even with a token."""
    for method, path, body in (
        ("PUT", f"{api.mover}/projects/sent", {}),
        ("PATCH", f"{api.mover}/projects/p", {"properties": {"description": "changed"}}),
        ("POST", "/graph/v1.0/groups", {"displayName": "sent"}),
    ):
        answer = await api.send(method, path, content=json.dumps(body), headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UnsupportedMediaType")
    assert (await api.send("GET", f"{api.mover}/projects/sent")).status_code == 404
    assert "description" not in (await api.send("GET", f"{api.mover}/projects/p")).json()["properties"]
