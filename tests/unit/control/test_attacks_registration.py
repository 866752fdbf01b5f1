"""Attacks on sign-in and registration: each is answered as stated, and what matters is in the trail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, func, select, update

from tests.forms import hidden
from tests.unit.control import flows
from tests.unit.control.conftest import START, URL, app_of
from tests.unit.control.flows import Agent
from tests.unit.control.person import Person
from tests.unit.control.stage import GROUP, MOVER, Stage
from wherry.control import audit, housekeeping
from wherry.control.db.tables_identity import agent_keys, credentials, principals, role_assignments
from wherry.control.db.tables_identity import device_codes as rows
from wherry.control.identity.sessions import COOKIE
from wherry.control.services import device_codes, identities, resource_store
from wherry.control.services import role_assignments as assignments
from wherry.trust import clients, device_flow, enrolment
from wherry.trust.device_flow import DeviceGrant
from wherry.trust.enrolment import EnrolmentRequest
from wherry.trust.keys import PrivateKey, sha256
from wherry.trust.roles import AGENT_REGISTRAR, OWNER

REGISTRATION = "/agent/v1/registration"


@pytest.fixture
def agent(client, plane) -> Agent:
    """An agent that wants to be registered with a mover that there is."""
    with plane.database.transaction() as conn:
        Stage(conn, START)
    return Agent(client, plane, MOVER)


@asynccontextmanager
async def browser(plane, address: str) -> AsyncIterator[httpx.AsyncClient]:
    """Another one, at another address."""
    transport = httpx.ASGITransport(app_of(plane), client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


async def approved(agent: Agent, password: str) -> dict[str, Any]:
    """A code of the agent that the administrator has approved on the pages."""
    code = dict((await agent.ask()).json())
    page = await flows.consent_page(agent.client, code["user_code"], password)
    assert "Approved" in (await flows.decide(agent.client, page, "approve", match=code["match"])).text
    return code


async def token_of(agent: Agent, password: str) -> str:
    return str((await agent.redeem(await approved(agent, password))).json()["access_token"])


async def register(
    new: Agent, token: str, changes: dict[str, Any] | None = None, proven: PrivateKey | None = None
) -> httpx.Response:
    """What an agent sends to be registered, or something else, or with the proof of another key."""
    request = new.request
    body = {"mover": request.mover, "agent": request.agent_name, "key": new.key.public.jwk(),
            "hostName": request.host_name, "version": request.agent_version}  # fmt: skip
    proof = new.proof(REGISTRATION, "PUT", key=proven, access_token=token)
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
    return await new.client.put(REGISTRATION, json={**body, **(changes or {})}, headers=headers)


def trail(plane) -> list[dict[str, Any]]:
    with plane.database.snapshot() as conn:
        return list(audit.records(conn))


def nothing_was_made(plane) -> bool:
    with plane.database.snapshot() as conn:
        identities = conn.execute(
            select(func.count()).select_from(principals).where(principals.c.kind == "agent")
        )
        keys = conn.execute(select(func.count()).select_from(agent_keys))
        machine = resource_store.find(conn, f"{GROUP}/providers/Microsoft.HybridCompute/machines/agent-1")
        return (identities.scalar(), keys.scalar(), machine) == (0, 0, None)


async def test_attack_22_a_session_that_was_planted_is_worth_nothing(client, made, plane):
    async with browser(plane, "198.51.100.9") as attacker:
        await attacker.get("/signin")
        planted = attacker.cookies[COOKIE]
        client.cookies.set(COOKIE, planted, domain="plane.example")
        form = {**hidden((await client.get("/signin")).text), "login": "admin", "password": made.password}
        assert (
            await client.post("/signin", data=form, headers={"Origin": "https://evil.example"})
        ).status_code == 403
        assert (await client.post("/signin", data={**form, "form_token": ""})).status_code == 403
        assert (await client.post("/signin", data=form)).status_code == 303
        assert client.cookies.get(COOKIE, domain="plane.example") != planted
        assert (await attacker.get("/factors")).headers["location"] == "/signin"


async def test_attack_26_a_device_code_has_256_bits_and_is_known_by_its_hash(client, plane):
    code = await flows.device_code(client)
    assert len(code["device_code"]) == 43
    with plane.database.snapshot() as conn:
        (row,) = conn.execute(select(rows)).all()
        assert row.device_hash == sha256(code["device_code"])
        assert code["device_code"] not in str(row)
        assert code["user_code"] not in str(row)
    for guess in ("", code["device_code"][:-1], code["device_code"] + "A", sha256(code["device_code"])):
        answer = (await flows.poll(client, {"device_code": guess})).json()
        assert answer["error"] in ("bad_verification_code", "invalid_request")


async def test_attack_27_whoever_polls_too_fast_waits_longer_from_then_on(client, clock):
    code = await flows.device_code(client)
    for passed, expected in ((0, "authorization_pending"), (0, "slow_down"), (2, "slow_down"), (7, "slow_down"),
                             (17, "authorization_pending")):  # fmt: skip
        clock.now += passed
        assert (await flows.poll(client, code)).json()["error"] == expected


async def test_attack_28_who_redeems_anothers_code_burns_it(client, made, agent, plane):
    code = await approved(agent, made.password)
    form = {
        "grant_type": flows.DEVICE_CODE,
        "client_id": clients.AZURE_CLI,
        "device_code": code["device_code"],
    }
    path = f"/{plane.tenant}/oauth2/v2.0/token"
    assert (
        await client.post(path.replace(plane.tenant, "11111111-1111-4111-8111-111111111111"), data=form)
    ).json()["error"] == "invalid_tenant"
    assert (await client.post(path, data=form)).json()["error"] == "invalid_grant"
    assert trail(plane)[-1]["reason"] == "device code foreign"
    assert (await agent.redeem(code)).json()["error"] == "invalid_grant"
    code = await approved(agent, made.password)
    without_proof = {**form, "client_id": enrolment.AGENT_CLIENT_ID, "device_code": code["device_code"]}
    assert (await client.post(path, data=without_proof)).json()["error"] == "invalid_grant"
    assert (await agent.redeem(code)).json()["error"] == "invalid_grant"


async def test_attack_29_a_redeemed_code_is_spent_and_a_late_one_is_refused(
    client, made, agent, plane, clock
):
    code = await approved(agent, made.password)
    token = (await agent.redeem(code)).json()["access_token"]
    assert (await agent.redeem(code)).json()["error"] == "invalid_grant"
    assert (await register(agent, token)).status_code == 401
    assert nothing_was_made(plane)
    code = await approved(agent, made.password)
    clock.now += 600
    assert (await agent.redeem(code)).json()["error"] == "expired_token"


async def test_attack_30_who_lost_the_right_since_vouches_for_nobody(made, agent, plane, admin):
    token = await token_of(agent, made.password)
    with plane.database.transaction() as conn:
        conn.execute(delete(role_assignments).where(role_assignments.c.principal_id == admin))
    assert (await register(agent, token)).status_code == 403
    with plane.database.transaction() as conn:
        identities.revoke_tokens(conn, admin)
    assert (await register(agent, token)).status_code == 401
    assert nothing_was_made(plane)


@pytest.mark.parametrize(("role", "demanded", "allowed"), [
    (AGENT_REGISTRAR, False, True), (AGENT_REGISTRAR, True, False), (OWNER, True, True),
])  # fmt: skip
async def test_attack_30_a_setting_demands_an_owner(
    client, made, agent, plane, admin, role, demanded, allowed
):
    plane.settings = replace(plane.settings, register_needs_owner=demanded)
    with plane.database.transaction() as conn:
        conn.execute(delete(role_assignments).where(role_assignments.c.principal_id == admin))
        assignments.create(
            conn, role=role.guid, principal_id=admin, principal_type="User", scope=GROUP, by=admin, now=START
        )
    code = (await agent.ask()).json()
    page = await flows.consent_page(client, code["user_code"], made.password)
    done = await flows.decide(client, page, "approve", match=code["match"])
    assert ("Approved" in done.text, "the role Owner" in done.text) == (allowed, not allowed)
    answer = (await agent.redeem(code)).json()
    if not allowed:
        assert answer["error"] == "authorization_declined"
        return
    assert (await register(agent, answer["access_token"])).status_code == 200
    plane.settings = replace(plane.settings, register_needs_owner=True)
    assert (await register(agent, answer["access_token"])).status_code == (200 if role is OWNER else 403)


async def test_attack_31_a_code_from_elsewhere_is_told_apart_and_its_number_is_not_on_the_page(
    made, agent, plane
):
    code = (await agent.ask()).json()
    words = enrolment.key_words(agent.key.thumbprint)
    async with browser(plane, "198.51.100.9") as victim:
        page = await flows.consent_page(victim, code["user_code"], made.password)
        assert "another address than yours" in page.text
        assert words in page.text
        assert "192.0.2.7" in page.text
        assert not any(code["match"] == part for part in page.text.replace("<", ">").split(">"))
        for number in range(10, 13):
            wrong = str(number if str(number) != code["match"] else 99)
            page = await flows.decide(victim, page, "approve", match=wrong)
        assert "three times" in page.text
        assert (await flows.decide(victim, page, "approve", match=code["match"])).status_code in (400, 403)
    assert [one.get("reason") for one in trail(plane)].count("wrong match number") == 3
    assert (await agent.redeem(code)).json()["error"] == "authorization_declined"
    near = await flows.consent_page(agent.client, (await agent.ask()).json()["user_code"], made.password)
    assert "another address" not in near.text


@pytest.mark.parametrize("change", [
    {"mover": MOVER + "2"}, {"agent": "agent-2"}, {"hostName": "other.example"},
])  # fmt: skip
async def test_attack_32_what_differs_from_the_consent_is_not_registered(made, agent, plane, change):
    token = await token_of(agent, made.password)
    refused = await register(agent, token, change)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "EnrolmentMismatch")
    assert nothing_was_made(plane)


async def test_attack_32_another_key_is_not_registered_and_the_approved_one_once(made, agent, plane, clock):
    token, other = await token_of(agent, made.password), PrivateKey.for_agent()
    assert (await register(agent, token, proven=other)).status_code == 401
    other_key = {"key": other.public.jwk()}
    assert (await register(agent, token, other_key, proven=other)).status_code == 401
    assert (await register(agent, token, other_key)).status_code == 403
    refused = await register(agent, token)
    assert refused.status_code == 200
    again = await register(agent, token)
    assert (again.status_code, again.json()) == (200, refused.json())
    clock.now += 300
    assert (await register(agent, token)).status_code == 401
    assert (
        await agent.client.get("/subscriptions", headers={"Authorization": f"Bearer {token}"})
    ).status_code == 401


async def test_attack_33_codes_that_live_are_few_and_the_rest_is_swept_away(client, plane, clock):
    form = {"client_id": clients.AZURE_CLI, "scope": flows.SCOPE}
    path = "/common/oauth2/v2.0/devicecode"
    with plane.database.transaction() as conn:
        for number in range(device_codes.MAX_LIVE):
            grant = _grant(plane, f"10.0.0.{number}", clock.now)
            assert device_codes.start(conn, plane.master, grant, clock.now) is not None
    refused = await client.post(path, data=form)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    clock.now += 4201
    assert (await client.post(path, data=form)).status_code == 200
    with plane.database.transaction() as conn:
        housekeeping.tidy(conn, clock.now)
        assert conn.execute(select(func.count()).select_from(rows)).scalar() == 1


def _grant(plane, source: str, now: float) -> DeviceGrant:
    return device_flow.begin(
        client_id=clients.AZURE_CLI, tenant=plane.tenant, scope="openid", source=source, now=now
    )


async def test_attack_34_what_an_agent_says_of_itself_is_inert_on_the_page(client, made, plane):
    evil = '"><img src=x onerror=alert(1)>'
    agent = Agent(client, plane, MOVER)
    agent.request = EnrolmentRequest(MOVER, "agent-1", evil, "<b>1</b>")
    code = (await agent.ask()).json()
    page = await flows.consent_page(client, code["user_code"], made.password)
    assert "<img" not in page.text
    assert "&lt;img" in page.text
    named = Agent(client, plane, MOVER, "<script>")
    assert (await named.ask()).json()["error"] == "invalid_authorization_details"
    decided = await client.post(
        "/device/decide", data={"user_code": code["user_code"], "decision": "approve"}
    )
    assert decided.status_code == 403


class FirstDay:
    """A control plane whose first administrator has done nothing yet."""

    def __init__(self, client: httpx.AsyncClient, plane: Any, clock: Any, password: str) -> None:
        with plane.database.transaction() as conn:
            conn.execute(update(credentials).values(must_change=True, changed_at=clock.now))
        plane.settings = replace(plane.settings, second_factor=True)
        self.person = Person(client, clock, "admin", password)

    async def change(self, page: httpx.Response, new: str) -> httpx.Response:
        who = {"login": "admin", "password": self.person.password}
        return await self.person.send(page, "/password", **who, new=new, again=new)


async def test_attack_45_the_first_password_opens_only_the_page_that_changes_it(client, made, plane, clock):
    first = FirstDay(client, plane, clock, made.password)
    clock.now += 86399
    page = await first.person.sign_in()
    assert "Choose a password" in page.text
    for path in ("/factors", "/factor"):
        assert (await client.get(path)).headers["location"] == "/signin"
    code = await flows.device_code(client)
    page = await client.post("/device", data={**hidden(page.text), "user_code": code["user_code"]})
    assert 'action="/signin"' in page.text
    chosen = "a lone green tree"
    page = await first.change(page, chosen)
    assert "Set up a second factor" in page.text
    first.person.password = chosen
    await first.person.enrol(page)
    assert (await client.get("/factors")).status_code == 200


async def test_attack_45_after_a_day_the_first_password_opens_nothing(client, made, plane, clock):
    first = FirstDay(client, plane, clock, made.password)
    clock.now += 86400
    page = await first.person.sign_in()
    assert (page.status_code, 'action="/signin"' in page.text) == (401, True)
    assert (await first.change(page, "a lone green tree")).status_code == 401
    assert trail(plane)[-1]["result"] == "denied"
    with plane.database.snapshot() as conn:
        assert conn.execute(select(credentials.c.must_change)).scalar()


@pytest.mark.parametrize("tags", [["a"], {"a": 1}, {"a/b": "1"}, {"a": "1", "A": "2"}, {"a": "v" * 257}])
async def test_tags_that_cannot_be_make_no_agent(agent: Agent, made, plane, tags: object) -> None:
    token = await token_of(agent, made.password)
    answer = await register(agent, token, {"tags": tags})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidProperty")
    assert nothing_was_made(plane)
