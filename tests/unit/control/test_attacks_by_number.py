"""Attacks by sheer number: of sign-ins at a time, of resources; everybody else is served meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.forms import hidden
from tests.unit.control import flows
from tests.unit.control.conftest import URL, app_of
from tests.unit.control.stage import GROUP, MOVER, SUBSCRIPTION, Stage
from wherry.control import hashing
from wherry.control.services import resource_store
from wherry.model.errors import ApiError
from wherry.trust import passwords

FLOOD = 90


class Gate:
    """Stands in for what is slow about passwords: it is over when the test says so."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.lock = threading.Lock()
        self.at_a_time = self.most = 0

    def matches(self, _verifier: str | None, _password: str) -> bool:
        with self.lock:
            self.at_a_time += 1
            self.most = max(self.most, self.at_a_time)
        self.open.wait(60)
        with self.lock:
            self.at_a_time -= 1
        return False


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(passwords, "matches", made.matches)
    yield made
    made.open.set()


def browser(plane, address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app_of(plane), client=(address, 1)), base_url=URL)


async def flood(plane, addresses: list[str], expected: int) -> tuple[Counter[int], list[asyncio.Task]]:
    """A sign-in from each address; answers when all have been refused that will be while the gate is closed."""
    tasks = [asyncio.create_task(sign_in(plane, one)) for one in addresses]
    refused: Counter[int] = Counter()
    for done in asyncio.as_completed(tasks):
        refused[(await done).status_code] += 1
        if refused.total() == expected:
            break
    return refused, tasks


async def sign_in(plane, address: str) -> httpx.Response:
    async with browser(plane, address) as client:
        page = await client.get("/signin")
        return await client.post("/signin", data={**hidden(page.text), "login": "admin", "password": "guess"})


async def test_attack_70_a_flood_of_sign_ins_waits_in_a_bounded_queue_and_others_are_served(
    client, made, plane, gate, monkeypatch
):
    token = (await tokens(client, made, monkeypatch))["access_token"]
    gate.open.clear()
    over = FLOOD - hashing.MOST
    refused, tasks = await flood(plane, [f"192.0.2.{at}" for at in range(FLOOD)], over)
    assert refused == {429: over}
    for _ in range(3):
        answer = await client.get(
            "/tenants?api-version=2022-12-01", headers={"authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 200
    gate.open.set()
    answers = Counter([(await one).status_code for one in tasks])
    assert answers == {429: over, 401: hashing.MOST}
    assert gate.most <= hashing.AT_A_TIME


async def test_attack_70_one_address_does_not_fill_the_queue(plane, gate):
    over = FLOOD - hashing.MOST_OF_ONE
    refused, tasks = await flood(plane, ["198.51.100.1"] * FLOOD, over)
    assert refused == {429: over}
    other = asyncio.create_task(sign_in(plane, "198.51.100.2"))
    gate.open.set()
    assert (await other).status_code == 401
    await asyncio.gather(*tasks)


async def tokens(client, made, monkeypatch) -> dict:
    with monkeypatch.context() as patch:
        patch.setattr(passwords, "matches", lambda *_: True)
        return await flows.signed_in(client, made.password)


def test_attack_70_resources_are_as_many_as_the_quota_and_no_more(stage: Stage, monkeypatch) -> None:
    monkeypatch.setattr(resource_store, "MOST_BESIDE", 4)
    for at in range(3):
        stage.put(f"{MOVER}/projects/more-{at}")
    refused(stage, f"{MOVER}/projects/one-too-many")
    stage.put(f"{MOVER}/projects/more-1", {"description": "what is there can be changed"})
    stage.put(f"{GROUP}/providers/Microsoft.StorageMover/storageMovers/other", location="local")
    stage.put(f"{GROUP}/providers/Microsoft.StorageMover/storageMovers/other/projects/one")
    monkeypatch.setattr(resource_store, "MOST_IN_GROUP", 7)
    refused(stage, f"{GROUP}/providers/Microsoft.StorageMover/storageMovers/third", location="local")
    elsewhere = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/h"
    stage.put(elsewhere, location="local")
    stage.put(f"{elsewhere}/providers/Microsoft.StorageMover/storageMovers/m", location="local")


def refused(stage: Stage, path: str, **more: str) -> None:
    with pytest.raises(ApiError) as told:
        stage.put(path, **more)
    assert (told.value.status, told.value.code) == (409, "ResourceQuotaExceeded")
