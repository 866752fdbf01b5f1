"""The pages of who is signed in: agents, start of jobs, access; the same rights and the same records as the API."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from tests.forms import hidden
from tests.unit.control.conftest import URL, Clock, Made
from tests.unit.control.stage import ACCOUNT, CONTAINER, MOVER
from tests.unit.control.world import World
from wherry.control.db.tables_identity import principals
from wherry.control.identity.sessions import WANTED
from wherry.control.plane import Plane
from wherry.control.services import presence, role_assignments
from wherry.model import ids
from wherry.trust.roles import BLOB_DATA_OWNER, CONTRIBUTOR, OWNER, READER

EVIL = "<script>alert(1)</script>"
PAGES = ("/agents", "/start", "/access")


@pytest.fixture
def world(plane: Plane, clock: Clock) -> World:
    return World(plane, clock)


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.browser() as client:
        yield client


async def press(client: httpx.AsyncClient, path: str, page: httpx.Response, **fields: str) -> httpx.Response:
    """Press the button of a page's form."""
    return await client.post(path, data={**hidden(page.text), **fields})


async def test_agents_are_listed_with_what_they_do(world: World, admin: httpx.AsyncClient) -> None:
    page = await admin.get("/agents")
    assert page.status_code == 200
    assert all(word in page.text for word in (">a<small>", "storage mover m", "nothing"))
    world.at_work()
    page = await admin.get("/agents")
    assert world.job.rpartition("/")[2] in page.text


async def test_who_is_not_signed_in_signs_in_and_comes_to_the_page_that_was_wanted(
    world: World, made: Made
) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url=URL) as nobody:
        for path in ("/agents/unregister", "/access/revoke", *PAGES):
            answer = await nobody.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
            if path not in ("/agents", "/access"):
                assert (await nobody.post(path, data={"x": "y"})).status_code == 303
        form = hidden((await nobody.get("/signin")).text)
        answer = await nobody.post("/signin", data={**form, "login": "admin", "password": made.password})
        assert answer.headers["location"] == "/access"
        nobody.cookies.set(WANTED, "//evil.example", domain="plane.example")
        form = hidden((await nobody.get("/signin")).text)
        answer = await nobody.post("/signin", data={**form, "login": "admin", "password": made.password})
        assert answer.headers["location"] == "/device"


async def test_pages_load_nothing_foreign_and_are_not_framed(admin: httpx.AsyncClient) -> None:
    for path in PAGES:
        _assert_plain(await admin.get(path))
    style = await admin.get("/pages/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert all(word not in style.text for word in ("url(", "@import"))


def _assert_plain(page: httpx.Response) -> None:
    policy = page.headers["content-security-policy"]
    assert policy == (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert page.headers["x-frame-options"] == "DENY"
    assert all(word not in page.text for word in ("<script", "style=", "http:"))
    assert not re.search(r"<[^>]* on\w+=", page.text)
    assert '<html lang="en">' in page.text
    assert page.text.count("<h1>") == 1


async def test_an_agent_is_unregistered_after_a_question(world: World, admin: httpx.AsyncClient) -> None:
    run = world.at_work()
    (assignment,) = world.assignments()
    question = await admin.get("/agents/unregister", params={"id": world.agent.key})
    assert "what it works on stops" in question.text
    assert world.assignments() == [assignment]
    answer = await press(admin, "/agents/unregister", question)
    assert (answer.status_code, answer.headers["location"]) == (303, "/agents?unregistered=a")
    assert world.assignments() == []
    with world.staged() as stage:
        assert presence.oid_of(stage.conn, world.agent.key) is None
        assert stage.row(run).error_code == "AZSM1041"
    (record,) = world.records("Microsoft.StorageMover/storageMovers/agents/delete")
    assert (record["result"], record["actor"], ids.key(record["scope"])) == (
        "allowed", world.admin, world.agent.key,
    )  # fmt: skip
    listed = await admin.get(answer.headers["location"])
    assert "is unregistered" in listed.text
    assert (await press(admin, "/agents/unregister", question)).status_code == 404


async def test_a_job_is_started_with_the_grant_that_was_shown(world: World, admin: httpx.AsyncClient) -> None:
    assert world.job.rpartition("/")[2] in (await admin.get("/start")).text
    plan = await admin.get(
        "/start", params={"job": world.job.upper().replace("/SUBSCRIPTIONS", "/subscriptions")}
    )
    for shown in ("Storage Mover Job Writer", CONTAINER, "DateTimeLessThan", world.agent.oid, "15 minutes"):
        assert shown in plan.text, shown
    with world.staged() as stage:
        assert stage.conn.exec_driver_sql("SELECT count(*) FROM runs").scalar_one() == 0
        assert stage.conn.exec_driver_sql("SELECT count(*) FROM consents").scalar_one() == 0
    answer = await press(admin, "/start", plan)
    assert answer.status_code == 303, answer.text
    with world.staged() as stage:
        run = stage.conn.exec_driver_sql("SELECT id FROM runs").scalar_one()
        stage.admit(run, "a")
        (consent,) = stage.conn.exec_driver_sql("SELECT author, scope FROM consents").all()
        assert tuple(consent) == (world.admin, CONTAINER)
    again = await admin.get(answer.headers["location"])
    assert "The run that goes on" in again.text
    assert '<button type="submit">' not in again.text
    twice = await press(admin, "/start", plan)
    assert (twice.status_code, "has not ended" in twice.text) == (409, True)
    assert [one["result"] for one in world.records(
        "Microsoft.StorageMover/storageMovers/projects/jobDefinitions/startJob/action"
    )] == ["allowed", "refused"]  # fmt: skip


async def test_attack_48_who_may_not_grant_sees_what_to_do_and_grants_nothing(world: World) -> None:
    oid = world.person((CONTRIBUTOR.guid, MOVER))
    async with world.browser(oid) as contributor:
        plan = await contributor.get("/start", params={"job": world.job})
        assert "It cannot be started by you" in plan.text
        assert "Role Based Access Control Administrator" in plan.text
        assert f"--scope {CONTAINER}" in plan.text
        assert hidden(plan.text).keys() == {"form_token"}
        answer = await press(contributor, "/start", plan, job=world.job)
    assert (answer.status_code, "roleAssignments/write" in answer.text) == (403, True)
    with world.staged() as stage:
        for table in ("runs", "consents", "grants", "claims"):
            assert stage.conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == 0
    assert world.records("Microsoft.StorageMover/storageMovers/projects/jobDefinitions/startJob/action")[-1][
        "result"
    ] == "refused"  # fmt: skip


async def test_attack_49_an_owner_of_the_mover_does_not_let_agents_into_the_account_of_others(
    world: World,
) -> None:
    async with world.browser(world.person((OWNER.guid, MOVER))) as owner:
        answer = await press(owner, "/start", await owner.get("/start"), job=world.job)
        assert answer.status_code == 403
        assert CONTAINER in answer.text
        # Nor does the page tell who reaches what is not theirs.
        assert "photos" not in (await owner.get("/access")).text
    assert world.assignments() == []


async def test_who_may_read_sees_lists_and_presses_nothing(world: World) -> None:
    run = world.at_work()
    (assignment,) = world.assignments()
    async with world.browser(world.person((READER.guid, "/"))) as reader:
        agents = await reader.get("/agents")
        assert ">a<small>" in agents.text
        assert "Unregister" not in agents.text
        form = await reader.get("/access")
        for path, fields, action in (
            (
                "/agents/unregister",
                {"id": world.agent.key},
                "microsoft.storagemover/storagemovers/agents/delete",
            ),
            ("/access/revoke", {"name": assignment}, "microsoft.authorization/roleassignments/delete"),
        ):
            answer = await press(reader, path, form, **fields)
            assert (answer.status_code, "You may not do that" in answer.text) == (403, True)
            assert world.records(action)[-1]["result"] == "denied"
    assert world.assignments() == [assignment]
    with world.staged() as stage:
        assert not stage.run(run).ended


async def test_who_has_no_role_sees_nothing(world: World) -> None:
    world.at_work()
    (assignment,) = world.assignments()
    async with world.browser(world.person()) as stranger:
        for path in PAGES:
            page = (await stranger.get(path)).text
            assert 'class="empty"' in page
            assert "<tbody>" not in page
        for path, told in (
            ("/start", {"job": world.job}), ("/agents/unregister", {"id": world.agent.key}),
            ("/access/revoke", {"name": assignment}), ("/access/revoke", {"name": "nothing"}),
            ("/agents/unregister", {"id": "/../x"}), ("/agents/unregister", {"id": "no id"}),
        ):  # fmt: skip
            answer = await stranger.get(path, params=told)
            assert answer.status_code in (400, 404)
            assert "<h1>" in answer.text


async def test_access_shows_who_until_when_and_why_and_is_taken_away(
    world: World, admin: httpx.AsyncClient
) -> None:
    run = world.at_work()
    with world.staged() as stage:
        wide = stage.assign(BLOB_DATA_OWNER.guid, world.agent.oid, ACCOUNT)
    page = await admin.get("/access")
    for shown in ("container photos of archive", "read, write", "consent of admin", "15 Jan 2027, 09:00 UTC",
                  "without end", "not by Wherry", "at <span title="):  # fmt: skip
        assert shown in page.text, shown
    (ours,) = {*world.assignments()} - {wide}
    question = await admin.get("/access/revoke", params={"name": ours})
    assert "A run rests on it and will fail" in question.text
    assert (await press(admin, "/access/revoke", question)).headers["location"] == "/access?revoked"
    assert world.assignments() == [wide]
    (record,) = world.records("Microsoft.Authorization/roleAssignments/delete")
    assert (record["result"], record["scope"]) == ("allowed", CONTAINER)
    with world.staged() as stage:
        stage.stop(world.job) if not stage.run(run).ended else None
        stage.conn.exec_driver_sql("UPDATE runs SET status = 'Canceled'")
    assert (await admin.get("/access/revoke", params={"name": ours})).status_code == 404


async def test_grants_that_have_ended_are_listed(world: World, admin: httpx.AsyncClient) -> None:
    with world.staged() as stage:
        run = stage.start(world.job)
        stage.admit(run, "a")
        stage.stop(world.job)
    page = (await admin.get("/access")).text
    past = page[page.index("Grants that have ended") :]
    assert all(word in past for word in ("Storage Mover Job Writer", "container photos of archive", "admin"))


async def test_deeds_need_a_form_of_this_browser_and_a_fresh_sign_in(
    world: World, admin: httpx.AsyncClient, clock: Clock
) -> None:
    form = await admin.get("/start", params={"job": world.job})
    for fields, headers in (
        ({"job": world.job}, {}),
        ({"job": world.job, "form_token": "0" * 64}, {}),
        (hidden(form.text), {"Origin": "https://evil.example"}),
    ):
        assert (await admin.post("/start", data=fields, headers=headers)).status_code == 403
    assert (await admin.post("/start", json=hidden(form.text))).status_code == 400
    async with world.browser() as other:
        assert (await press(other, "/start", form)).status_code == 403
    clock.now += 601
    stale = await press(admin, "/start", form)
    assert (stale.status_code, "Sign in again" in stale.text) == (401, True)
    with world.staged() as stage:
        assert stage.conn.exec_driver_sql("SELECT count(*) FROM runs").scalar_one() == 0


async def test_attack_61_names_of_others_are_text(world: World, admin: httpx.AsyncClient) -> None:
    """Whatever came into the database by a way that checks less."""
    world.at_work()
    (assignment,) = world.assignments()
    with world.staged() as stage:
        stage.conn.execute(update(principals).values(name=f"{EVIL}\u202e"))
        facts = {"agentVersion": EVIL, "localIPAddress": f'"{EVIL}'}
        presence.beat(stage.conn, world.agent.oid, facts, stage.now, stage.now + 90)
    told = {"/access/revoke": {"name": assignment}, "/agents/unregister": {"id": world.agent.key}}
    for page in (*PAGES, *told):
        shown = await admin.get(page, params=told.get(page, {"x": EVIL, "unregistered": EVIL}))
        assert shown.status_code == 200
        assert "<script" not in shown.text
        assert "&lt;script&gt;" in shown.text
        assert "\u202e" not in shown.text


async def test_what_a_session_lost_it_lost_at_once(world: World, admin: httpx.AsyncClient) -> None:
    with world.staged() as stage:
        other = stage.user(OWNER.guid, "/")
        for one in role_assignments.of_principal(stage.conn, world.admin):
            role_assignments.remove(stage.conn, one.id)
    assert other
    assert "<tbody>" not in (await admin.get("/agents")).text
    with world.staged() as stage:
        stage.conn.execute(update(principals).where(principals.c.oid == world.admin).values(enabled=False))
    assert (await admin.get("/agents")).status_code == 303


async def test_the_plan_of_a_job_that_cannot_run_says_why(world: World, admin: httpx.AsyncClient) -> None:
    with world.staged() as stage:
        lost = stage.job(container="photos", agentName="a", targetSubpath="p/q")
        nobody = stage.job(container="other")
        stage.start(world.job)
    busy = (await admin.get("/start", params={"job": lost})).text
    assert "AZSM1027" in busy or "overlapping" in busy
    alone = (await admin.get("/start", params={"job": nobody})).text
    assert "names no agent" in alone
    assert 'name="job"' not in busy + alone


async def test_wider_access_that_others_gave_is_told_before_the_start(
    world: World, admin: httpx.AsyncClient
) -> None:
    with world.staged() as stage:
        stage.assign(BLOB_DATA_OWNER.guid, world.agent.oid, ACCOUNT)
    page = (await admin.get("/start", params={"job": world.job})).text
    assert "None: the agent may enter the target already." in page
    assert "can reach it by more than this" in page
    assert "Storage Blob Data Owner at" in page
    assert "Give this access" not in page


async def test_the_how_to_names_what_the_pages_show(world: World, admin: httpx.AsyncClient) -> None:
    how_to = Path(__file__).parents[3] / "docs" / "how-to" / "access.md"
    shown = [(await admin.get("/start", params={"job": world.job})).text]
    world.at_work()
    shown += [(await admin.get(path)).text for path in PAGES]
    named = [" ".join(one.split()) for one in re.findall(r"\*\*(.+?)\*\*", how_to.read_text(), re.DOTALL)]
    assert len(named) > 12
    for words in named:
        assert any(f">{words}<" in page for page in shown), words
