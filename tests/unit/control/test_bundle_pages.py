"""The page of an agent's support bundles: the same rights and the same records as the API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.forms import hidden
from tests.unit.control.conftest import Clock
from tests.unit.control.stage import MOVER
from tests.unit.control.world import World
from wherry.control.arm.agent_bundles import DOWNLOAD, REQUEST
from wherry.control.plane import Plane
from wherry.control.services import agent_bundles, presence
from wherry.trust.roles import READER

BUNDLES = "/agents/bundles"


@pytest.fixture
def world(plane: Plane, clock: Clock) -> World:
    return World(plane, clock)


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.browser() as client:
        yield client


async def shown(client: httpx.AsyncClient, world: World) -> httpx.Response:
    return await client.get(BUNDLES, params={"id": world.agent.key})


def results(world: World, action: str) -> list[str]:
    return [one["result"] for one in world.records(action)]


async def test_a_bundle_is_asked_for_once_and_not_fetched_before_it_is_there(
    world: World, admin: httpx.AsyncClient
) -> None:
    assert "/agents/bundles?id=" in (await admin.get("/agents")).text
    page = await shown(admin, world)
    assert "There is none." in page.text
    assert page.text.count("<h1>") == 1
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    answer = await admin.post(BUNDLES, data=hidden(page.text))
    assert answer.status_code == 303
    page = await admin.get(answer.headers["location"])
    assert "Requested" in page.text
    assert "Download" not in page.text
    await admin.post(BUNDLES, data=hidden(page.text))
    with world.staged() as stage:
        (bundle,) = agent_bundles.all_ids(stage.conn)
    early = await admin.post(f"{BUNDLES}/download", data={**hidden(page.text), "bundle": bundle})
    assert (early.status_code, "has not brought it yet" in early.text) == (409, True)
    assert results(world, REQUEST) == ["allowed", "allowed"]
    assert results(world, DOWNLOAD) == ["refused"]


async def test_attack_61_what_an_agent_says_of_its_trouble_is_text(
    world: World, admin: httpx.AsyncClient
) -> None:
    await admin.post(BUNDLES, data=hidden((await shown(admin, world)).text))
    with world.staged() as stage:
        (bundle,) = agent_bundles.all_ids(stage.conn)
        agent_bundles.fail(stage.conn, world.agent, bundle, stage.now, "<script>alert(1)</script>")
    page = await shown(admin, world)
    assert "&lt;script&gt;" in page.text
    assert "<script" not in page.text


async def test_attack_50_readers_see_bundles_and_neither_ask_for_them_nor_fetch_them(
    world: World, admin: httpx.AsyncClient
) -> None:
    await admin.post(BUNDLES, data=hidden((await shown(admin, world)).text))
    with world.staged() as stage:
        (bundle,) = agent_bundles.all_ids(stage.conn)
        agent_bundles.brought(stage.conn, world.agent, bundle, stage.now, 60.0, 3, "0" * 64)
    async with world.browser(world.person((READER.guid, MOVER))) as reader:
        page = await shown(reader, world)
        assert "Ready" in page.text
        form = hidden(page.text)
        assert (await reader.post(BUNDLES, data=form)).status_code == 403
        fetched = await reader.post(f"{BUNDLES}/download", data={**form, "bundle": bundle})
        assert fetched.status_code == 403
    async with world.browser(world.person()) as nobody:
        assert (await shown(nobody, world)).status_code == 404
    assert results(world, DOWNLOAD) == ["denied"]


async def test_the_key_of_an_agents_ssh_service_is_on_the_page_of_agents(
    world: World, admin: httpx.AsyncClient
) -> None:
    key = "SHA256:" + "a" * 43
    with world.staged() as stage:
        facts = {"wherry": {"sshHostKey": key}}
        presence.beat(stage.conn, world.agent.oid, facts, stage.now, stage.now + 90)
    assert f"SSH host key {key}" in (await admin.get("/agents")).text
