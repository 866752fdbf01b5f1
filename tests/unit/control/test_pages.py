"""The pages for people: forms of one browser, sign-in, decisions with the person's own rights."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select

from tests.forms import hidden
from tests.unit.control import flows
from tests.unit.control.flows import Agent
from wherry.control import audit
from wherry.control.app import create_app
from wherry.control.db.tables_identity import role_assignments, sessions
from wherry.control.identity.sessions import COOKIE, WRONG_CODES
from wherry.control.services import device_codes, identities, users

MOVER = "/subscriptions/{}/resourceGroups/g/providers/Microsoft.StorageMover/storageMovers/m"


@pytest.fixture
def agent(client, plane) -> Agent:
    return Agent(client, plane, MOVER.format(plane.subscription))


def records(plane) -> list[dict]:
    with plane.database.snapshot() as conn:
        return list(audit.records(conn))


async def sign_in(client, login: str, password: str) -> httpx.Response:
    page = await client.get("/signin")
    return await client.post("/signin", data={**hidden(page.text), "login": login, "password": password})


async def test_signing_in_makes_a_new_session_and_signing_out_ends_it(client, made, plane):
    await client.get("/signin")
    before = client.cookies[COOKIE]
    answer = await sign_in(client, " Admin ", made.password)
    assert (answer.status_code, answer.headers["location"]) == (303, "/device")
    assert client.cookies[COOKIE] != before
    form = hidden((await client.get("/device")).text)
    assert (await client.post("/signout", data=form)).status_code == 303
    with plane.database.snapshot() as conn:
        assert not conn.execute(select(sessions)).all()


async def test_cookies_are_out_of_reach(client):
    cookie = (await client.get("/signin")).headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))


async def test_attack_34_pages_cannot_be_framed_and_run_no_script(client):
    page = await client.get("/device")
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert page.headers["referrer-policy"] == "same-origin", (
        "with no-referrer browsers send forms as of nobody"
    )
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert (await client.get("/signin/style.css")).headers["content-type"].startswith("text/css")


@pytest.mark.parametrize("path", ["/signin", "/device", "/device/decide", "/signout"])
async def test_attack_22_34_forms_come_from_this_browser_or_not_at_all(client, plane, path):
    assert (await client.post(path, data={"x": "y"})).status_code == 403
    assert "not from this browser" in (await client.post(path, data={"x": "y"})).text
    assert (await client.post(path, json={})).status_code == 400
    form = hidden((await client.get("/device")).text)
    forged = {"form_token": "0" * 64}
    assert (await client.post(path, data=forged)).status_code == 403
    assert (await client.post(path, data=form, headers={"Origin": "https://evil.example"})).status_code == 403
    transport = httpx.ASGITransport(create_app(plane))
    async with httpx.AsyncClient(transport=transport, base_url=plane.public_url) as other:
        await other.get("/device")
        assert (await other.post(path, data=form)).status_code == 403


@pytest.mark.parametrize(
    ("login", "password"), [("admin", "guess-4711"), ("nobody", "x"), ("", ""), ("admin", "x" * 2000)]
)
async def test_a_wrong_password_says_nothing_about_why(client, plane, login, password):
    answer = await sign_in(client, login, password)
    assert answer.status_code == 401
    assert "User name or password is wrong" in answer.text
    assert records(plane)[-1]["result"] == "denied"
    assert password[:40] not in str(records(plane)) or not password


async def test_wrong_passwords_lock_for_a_while(client, made, clock):
    for _ in range(users.FREE_FAILURES):
        await sign_in(client, "admin", "wrong")
    assert (await sign_in(client, "admin", made.password)).status_code == 401
    clock.now += 3601
    assert (await sign_in(client, "admin", made.password)).status_code == 303


async def test_many_tries_at_once_get_no_further_than_one_after_the_other(client, made):
    form = hidden((await client.get("/signin")).text)

    def attempt(password: str) -> Coroutine[Any, Any, httpx.Response]:
        return client.post("/signin", data={**form, "login": "admin", "password": password})

    answers = await asyncio.gather(*[attempt(f"wrong-{number}") for number in range(users.FREE_FAILURES + 3)])
    assert {answer.status_code for answer in answers} == {401}
    assert (await sign_in(client, "admin", made.password)).status_code == 401


async def test_a_right_password_that_was_checked_before_the_lock_comes_too_late_after_it(made, plane):
    with plane.database.transaction() as conn:
        for _ in range(users.FREE_FAILURES):
            assert not users.record_attempt(conn, "admin", "192.0.2.7", right=False, now=1000.0)
        assert not users.record_attempt(conn, "admin", "192.0.2.7", right=True, now=1000.0)
        assert users.record_attempt(conn, "admin", "192.0.2.7", right=True, now=1061.0)


async def test_tries_during_a_lock_do_not_make_it_longer(client, made, clock):
    for _ in range(users.FREE_FAILURES + 5):
        await sign_in(client, "admin", "wrong")
    clock.now += 61
    assert (await sign_in(client, "admin", made.password)).status_code == 303


async def test_one_address_cannot_guess_for_ever(client, made, clock, plane):
    for number in range(users.WRONG_PER_SOURCE):
        with plane.database.transaction() as conn:
            users.record_attempt(conn, f"user{number}", "192.0.2.7", right=False, now=clock.now)
    assert (await sign_in(client, "admin", made.password)).status_code == 401
    clock.now += users.WRONG_SECONDS
    assert (await sign_in(client, "admin", made.password)).status_code == 303


async def test_what_an_agent_asks_for_is_shown_before_it_is_decided(client, made, agent):
    code = (await agent.ask()).json()
    page = await flows.consent_page(client, code["user_code"].lower().replace("-", " "), made.password)
    for shown in ("agent-1", agent.request.mover, "host.example", "192.0.2.7", agent.key.thumbprint, "admin"):
        assert shown in page.text
    assert code["match"] not in hidden(page.text).values()
    done = await flows.decide(client, page, "approve", match=code["match"])
    assert "Approved" in done.text
    record = records(plane=agent.plane)[-1]
    assert record["action"] == "wherry/device/approved"
    assert record["details"]["jkt"] == agent.key.thumbprint


async def test_attack_31_three_wrong_numbers_stop_it(client, made, agent):
    code = (await agent.ask()).json()
    page = await flows.consent_page(client, code["user_code"], made.password)
    wrong = "11" if code["match"] != "11" else "12"
    for _ in range(2):
        page = await flows.decide(client, page, "approve", match=wrong)
        assert "not the number" in page.text
    page = await flows.decide(client, page, "approve", match="")
    assert "three times" in page.text
    assert (await agent.redeem(code)).json()["error"] == "authorization_declined"


async def test_attack_30_without_the_right_nothing_is_approved(client, made, agent, plane):
    with plane.database.transaction() as conn:
        conn.execute(delete(role_assignments))
    code = (await agent.ask()).json()
    page = await flows.consent_page(client, code["user_code"], made.password)
    done = await flows.decide(client, page, "approve", match=code["match"])
    assert done.status_code == 403
    assert "You may not do this" in done.text
    assert (await agent.redeem(code)).json()["error"] == "authorization_declined"


async def test_attack_25_guesses_of_user_codes_end_whoever_signs_in_again(client, made, plane):
    code = await flows.device_code(client)
    form = hidden((await client.get("/device")).text)
    for typed in (code["user_code"], "BCDF-GHJK"):
        page = await client.post("/device", data={**form, "user_code": typed})
        assert 'name="password"' in page.text
    await sign_in(client, "admin", made.password)
    for _ in range(device_codes.WRONG_PER_SOURCE):
        page = await flows.consent_page(client, "BCDF-GHJK", made.password)
        assert page.status_code == 404
    page = await flows.consent_page(client, code["user_code"], made.password)
    assert page.status_code == 429
    assert "Approve" not in page.text
    assert "too many" in records(plane)[-1]["reason"]
    assert (await flows.poll(client, code)).json()["error"] == "authorization_pending"


async def test_attack_25_the_page_of_the_decision_is_no_place_to_guess_codes(client, made, plane):
    await sign_in(client, "admin", made.password)
    code = await flows.device_code(client)
    form = {**hidden((await client.get("/device")).text), "decision": "deny"}
    near = code["user_code"][:-1] + ("B" if code["user_code"][-1] != "B" else "C")
    for typed in (near, *["BCDF-GHJK"] * (WRONG_CODES - 1)):
        page = await client.post("/device/decide", data={**form, "user_code": typed})
        assert (page.status_code, "No device is waiting" in page.text) == (404, True)
    page = await client.post("/device/decide", data={**form, "user_code": code["user_code"]})
    assert (page.status_code, 'name="password"' in page.text) == (401, True)
    assert [one["reason"] for one in records(plane)[-WRONG_CODES:]] == ["wrong device code"] * WRONG_CODES
    assert (await flows.poll(client, code)).json()["error"] == "authorization_pending"


async def test_who_was_revoked_signs_in_again(client, made, plane, admin):
    await sign_in(client, "admin", made.password)
    with plane.database.transaction() as conn:
        identities.revoke_tokens(conn, admin)
    code = await flows.device_code(client)
    form = hidden((await client.get("/device")).text)
    page = await client.post("/device", data={**form, "user_code": code["user_code"]})
    assert 'name="password"' in page.text


@pytest.mark.parametrize("typed", ["", "<script>", "АAAA-AAAA", "ABCDEFGHIJ", "\u202e", "x" * 5000])  # noqa: RUF001
async def test_attack_34_strange_codes_are_refused_politely(client, typed):
    form = hidden((await client.get("/device")).text)
    page = await client.post("/device", data={**form, "user_code": typed})
    assert page.status_code == 400
    assert "<script>" not in page.text


async def test_attack_34_what_is_typed_comes_back_inert(client):
    form = hidden((await client.get("/signin")).text)
    evil = '"><script>alert(1)</script>'
    page = await client.post("/signin", data={**form, "login": evil, "password": "x", "user_code": evil})
    assert page.status_code == 401
    assert "<script>" not in page.text


async def test_a_decision_needs_a_fresh_sign_in(client, made, clock):
    code = await flows.device_code(client)
    page = await flows.consent_page(client, code["user_code"], made.password)
    clock.now += 599
    code = await flows.device_code(client)
    clock.now += 2
    page = await client.post("/device/decide", data={**hidden(page.text), "decision": "approve"})
    assert page.status_code == 401
    assert 'name="password"' in page.text
    assert (await flows.poll(client, code)).json()["error"] == "authorization_pending"


async def test_a_code_is_decided_once(client, made):
    code = await flows.device_code(client)
    page = await flows.consent_page(client, code["user_code"], made.password)
    await flows.decide(client, page, "approve")
    again = await flows.decide(client, page, "deny")
    assert again.status_code == 400
    assert "decided on already" in again.text
