"""What else the pages list and tell: consents that stand, lists in pages, what access is not limited to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.unit.control.conftest import Clock
from tests.unit.control.stage import MOVER
from tests.unit.control.world import World
from wherry.control.plane import Plane
from wherry.control.services import agent_versions, overviews, presence, resource_store, standing_consents
from wherry.model.agent_versions import SERVED
from wherry.model.drivers import S3_SESSION
from wherry.model.versions import Version
from wherry.trust.roles import READER


@pytest.fixture
def world(plane: Plane, clock: Clock) -> World:
    return World(plane, clock)


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.browser() as client:
        yield client


async def test_consents_that_stand_are_listed_for_who_may_see_access_there(
    world: World, admin: httpx.AsyncClient
) -> None:
    assert "Consents to all starts" not in (await admin.get("/access")).text
    with world.staged() as stage:
        job = resource_store.find(stage.conn, world.job)
        assert job is not None
        standing_consents.give(stage.conn, stage.caller, job, world.clock.now + 3 * 86400)
    page = (await admin.get("/access")).text
    told = page[page.index("Consents to all starts of a job") : page.index("Grants that have ended")]
    name = world.job.rpartition("/")[2]
    for shown in (
        f">{name}</a>",
        "Storage Mover Job Writer",
        "container photos of archive",
        "in 3 days",
        "admin",
    ):
        assert shown in told, shown
    async with world.browser(world.person((READER.guid, MOVER))) as reader:
        assert "Consents to all starts" not in (await reader.get("/access")).text


async def test_long_lists_come_in_pages(
    world: World, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overviews, "MOST", 1)
    with world.staged() as stage:
        stage.agent("second")
        stage.job(container="photos", agentName="a")
        stage.job(container="films", agentName="a")
    for path, last in (("/agents", 1), ("/start", 2), ("/access", 4)):
        seen, there = set(), path
        for number in range(last + 1):
            page = (await admin.get(there)).text
            main = page[page.index("<h1>") : page.index("</main>")].partition(
                '<section aria-labelledby="past">'
            )[0]
            assert main not in seen
            seen.add(main)
            link = re.search(r'<a rel="next" href="([^"]+)">', page)
            assert (link is None) == (number == last), (path, number)
            there = link[1] if link else ""
    for odd in ("-1", "x", "9" * 30, "\u0661", "1000000"):
        assert (await admin.get("/agents", params={"from": odd})).status_code == 200


async def test_who_starts_a_job_is_told_what_its_access_is_not_limited_to(
    world: World, admin: httpx.AsyncClient
) -> None:
    page = (await admin.get("/start", params={"job": world.job})).text
    assert "It is not limited to a folder of the container." in page
    role = {"credentialDriver": "s3-session", "roleArn": "arn:aws:iam::123456789012:role/mover"}
    told = {"endpointType": "S3WithHMAC", "sourceUri": "https://s3.example.net/bucket", "wherry": role}
    with world.staged() as stage:
        stage.put(f"{MOVER}/endpoints/bucket", told)
        path = f"{MOVER}/projects/p/jobDefinitions/to-bucket"
        source = f"{world.job.rpartition('/')[2]}-s"
        names = {"sourceName": source, "targetName": "bucket", "agentName": "a"}
        stage.put(path, {"copyMode": "Additive", **names})
    page = (await admin.get("/start", params={"job": path})).text
    assert "What this access is not limited to." in page
    assert S3_SESSION.warning.replace("'", "&#39;") in page


async def test_an_agent_that_is_too_old_is_shown_with_what_it_needs(
    world: World, admin: httpx.AsyncClient
) -> None:
    notice = SERVED.notice("0.0.9")
    assert notice is not None
    assert "There is a later version" not in (await admin.get("/agents")).text
    with world.staged() as stage:
        stage.agent("aged")
        oid = stage.agents["aged"].oid
        facts = agent_versions.noted({"agentVersion": "0.0.9"}, notice)
        presence.beat(stage.conn, oid, facts, world.clock.now, world.clock.now + 90)
    page = (await admin.get("/agents")).text
    told = page[page.index(">aged<") :]
    assert "RequiresAttention" in told or "Requires attention" in told
    assert told.count(f"It runs 0.0.9; {SERVED.oldest} is needed at least") == 1
    later = SERVED.knowing(Version(99, 0, 0)).notice(str(SERVED.newest))
    with world.staged() as stage:
        facts = agent_versions.noted({"agentVersion": str(SERVED.newest)}, later)
        presence.beat(stage.conn, oid, facts, world.clock.now, world.clock.now + 90)
    page = (await admin.get("/agents")).text
    assert page.count("There is a later version of the agent&#39;s program.") == 1
    assert "is needed at least" not in page
