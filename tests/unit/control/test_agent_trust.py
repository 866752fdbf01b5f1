"""One agent, one holder of its key: copies, replaced keys, replays and clocks, against the control plane in process."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update
from starlette.requests import Request

from tests.unit.control.conftest import START, URL
from tests.unit.control.flows import Agent
from wherry.control import audit, housekeeping
from wherry.control.access import Routes, agent
from wherry.control.app import create_app
from wherry.control.areas import AREAS
from wherry.control.db.tables_identity import agent_keys, principals
from wherry.control.identity import token as tokens_of
from wherry.control.plane import Plane, caller
from wherry.control.services import agent_trust, identities
from wherry.trust import key_change, proofs, tokens
from wherry.trust.keys import PrivateKey
from wherry.trust.principals import FULL_SCOPE, Principal

MOVER = "/subscriptions/{}/resourceGroups/g/providers/Microsoft.StorageMover/storageMovers/m"
DOOR = "/doors/agent"
DOORS = Routes()


@DOORS.get(DOOR, agent())
async def agents_door(request: Request) -> dict[str, str]:
    return {"oid": caller(request).oid}


@pytest.fixture(scope="module")
def made_app() -> list[FastAPI]:
    """The application, for one plane at a time."""
    return []


@pytest.fixture
async def client(plane, made_app):
    if not made_app:
        made_app.append(create_app(plane, (*AREAS, DOORS)))
    made_app[0].state.plane = plane
    transport = httpx.ASGITransport(made_app[0], client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


@pytest.fixture
def owner(client, plane) -> Agent:
    return Agent(client, plane, MOVER.format(plane.subscription))


@pytest.fixture
def registered(owner, plane, clock) -> identities.AgentIdentity:
    with plane.database.transaction() as conn:
        return identities.create_agent(
            conn, name="agent-1", machine_id="/m", jwk=owner.key.public.jwk(), now=clock.now
        )


def copy_of(holder: Agent, claimed: str) -> Agent:
    """A thief with all that is on the agent's disk."""
    thief = Agent(holder.client, holder.plane, holder.request.mover)
    thief.key, thief.join_state = holder.key, holder.joined(claimed)
    return thief


async def token(holder: Agent, claimed: str) -> str:
    answer = await holder.sign_in(claimed)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def knock(holder: Agent, token: str) -> tuple[int, str]:
    proof = holder.proof(DOOR, "GET", access_token=token)
    answer = await holder.client.get(DOOR, headers={"Authorization": f"DPoP {token}", "DPoP": proof})
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def refused(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")
    return str(answer.json()["error_description"])


def records(plane, action: str) -> list[str]:
    with plane.database.snapshot() as conn:
        return [one["reason"] for one in audit.records(conn) if one["action"] == action]


async def test_attack_39_the_first_state_out_of_date_locks_both_out(owner, registered, plane):
    who = registered.client_id
    thief = copy_of(owner, who)
    held = await token(owner, who)
    assert await knock(owner, held) == (200, "")

    assert "identity_locked" in refused(await thief.sign_in(who))

    assert await knock(owner, held) == (401, "identity_locked")
    assert "identity_locked" in refused(await owner.sign_in(who))
    assert records(plane, "wherry/agent-locked") == ["a join state came twice"]
    with plane.database.snapshot() as conn:
        assert agent_trust.lapsed(conn, registered.oid, START) == "locked"
        assert not conn.execute(
            select(principals.c.enabled).where(principals.c.oid == registered.oid)
        ).scalar()


async def test_attack_39_a_thief_who_is_first_is_noticed_when_the_owner_comes(owner, registered):
    who = registered.client_id
    thief = copy_of(owner, who)
    stolen = await token(thief, who)
    assert await knock(thief, stolen) == (200, "")

    assert "identity_locked" in refused(await owner.sign_in(who))
    assert await knock(thief, stolen) == (401, "identity_locked")


async def test_attack_39_a_token_that_is_still_good_does_not_hide_a_thief(owner, registered):
    """The thief gets in between the owner's token and its first use: the owner's very next call tells."""
    who = registered.client_id
    thief = copy_of(owner, who)
    held = await token(owner, who)
    stolen = await token(thief, who)
    assert await knock(thief, stolen) == (200, "")

    assert await knock(owner, held) == (401, "identity_locked")
    assert await knock(thief, stolen) == (401, "identity_locked")
    assert "identity_locked" in refused(await thief.sign_in(who))


async def test_an_answer_that_was_lost_locks_nobody(owner, registered):
    who = registered.client_id
    for _ in range(3):
        before = owner.joined(who)
        await token(owner, who)
        owner.join_state = before
    assert await knock(owner, await token(owner, who)) == (200, "")


async def test_a_request_that_was_long_on_its_way_locks_nobody(owner, registered, clock):
    """The agent gave up waiting and asked again: the first request arrives after the answer was used."""
    who = registered.client_id
    late = proofs.make_assertion(owner.key, who, owner.plane.issuer, now=clock.now)
    shown = owner.joined(who)
    clock.now += 31
    held = await token(owner, who)
    assert await knock(owner, held) == (200, "")
    mine = owner.join_state

    assert "older than one that was accepted" in refused(await owner.sign_in(who, late, join_state=shown))

    owner.join_state = mine
    assert await knock(owner, held) == (200, "")
    await token(owner, who)


@pytest.mark.parametrize("shown", ["", "x", "1.0." + "A" * 43])
async def test_a_key_without_a_state_of_ours_is_a_copy(owner, registered, shown):
    assert "identity_locked" in refused(await owner.sign_in(registered.client_id, join_state=shown))


async def offer(holder: Agent, held: str, text: str, key: PrivateKey | None = None) -> httpx.Response:
    path = "/agent/v1/keys"
    proof = holder.proof(path, "POST", key=key, access_token=held)
    headers = {"Authorization": f"DPoP {held}", "DPoP": proof}
    return await holder.client.post(path, json={"offer": text}, headers=headers)


async def test_a_new_key_counts_from_its_first_use_and_the_old_one_no_more(owner, registered, plane, clock):
    who, old, new = registered.client_id, owner.key, PrivateKey.for_agent()
    held = await token(owner, who)
    clock.now += 86400 * 15
    held = await token(owner, who)
    text = key_change.offer(new, who, old.thumbprint)
    assert [(await offer(owner, held, text)).status_code for _ in range(2)] == [204, 204]
    assert await knock(owner, held) == (200, "")
    held = await token(owner, who)

    owner.key = new
    fresh = await token(owner, who)

    assert await knock(owner, fresh) == (200, "")
    owner.key = old
    assert await knock(owner, held) == (401, "invalid_token")
    owner.key = new
    assert await knock(owner, fresh) == (200, "")
    clock.now += 86400 * 16
    assert await token(owner, who)


async def test_attack_40_the_old_key_locks_when_it_comes_later(owner, registered, plane, clock):
    who, new = registered.client_id, PrivateKey.for_agent()
    thief = copy_of(owner, who)
    held = await token(owner, who)
    await offer(owner, held, key_change.offer(new, who, owner.key.thumbprint))
    owner.key = new
    held = await token(owner, who)

    thief.join_state = owner.join_state
    assert "identity_locked" in refused(await thief.sign_in(who))
    assert await knock(owner, held) == (401, "identity_locked")
    assert records(plane, "wherry/agent-locked") == ["a key was used that was replaced"]


async def test_attack_40_a_token_alone_changes_no_key(owner, registered, plane):
    who, thief = registered.client_id, PrivateKey.for_agent()
    held = await token(owner, who)
    text = key_change.offer(thief, who, owner.key.thumbprint)
    assert (await offer(owner, held, text, key=thief)).status_code == 401
    headers = {"Authorization": f"Bearer {held}"}
    assert (
        await owner.client.post("/agent/v1/keys", json={"offer": text}, headers=headers)
    ).status_code == 401
    for wrong in (
        key_change.offer(thief, "another", owner.key.thumbprint),
        key_change.offer(thief, who, thief.thumbprint),
        "x",
    ):
        answer = await offer(owner, held, wrong)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidKey")
    with plane.database.snapshot() as conn:
        assert conn.execute(select(agent_keys.c.jkt)).scalars().all() == [owner.key.thumbprint]


async def test_keys_of_before_and_of_others_are_no_new_keys(owner, registered, plane, clock):
    who, new = registered.client_id, PrivateKey.for_agent()
    other = PrivateKey.for_agent()
    with plane.database.transaction() as conn:
        identities.create_agent(conn, name="b", machine_id="/b", jwk=other.public.jwk(), now=clock.now)
    held = await token(owner, who)
    first = owner.key
    await offer(owner, held, key_change.offer(PrivateKey.for_agent(), who, first.thumbprint))
    await offer(owner, held, key_change.offer(new, who, first.thumbprint))
    with plane.database.snapshot() as conn:
        mine = select(agent_keys.c.jkt).where(agent_keys.c.oid == registered.oid)
        assert set(conn.execute(mine).scalars()) == {first.thumbprint, new.thumbprint}
    owner.key = new
    held = await token(owner, who)
    for used in (first, other):
        answer = await offer(owner, held, key_change.offer(used, who, new.thumbprint))
        assert answer.status_code == 409


async def test_attack_41_an_expired_key_gets_nothing_and_is_told_what_to_do(owner, registered, plane, clock):
    held = await token(owner, registered.client_id)
    clock.now += 86400 * 30
    assert await knock(owner, held) == (401, "invalid_token")
    said = refused(await owner.sign_in(registered.client_id))
    assert "identity_expired" in said
    assert "register the agent again" in said
    with plane.database.snapshot() as conn:
        assert agent_trust.lapsed(conn, registered.oid, clock.now) == "expired"


def another(plane: Plane) -> Plane:
    """The same control plane after a restart, or a replica of it: the database is all that it shares."""
    return Plane(
        plane.database, plane.master, plane.tenant, plane.subscription, URL, plane.ca_pem, clock=plane.clock
    )


async def test_attack_13_16_what_was_sent_once_is_refused_after_a_restart_and_by_a_replica(
    owner, registered, plane, clock
):
    who = registered.client_id
    path = f"/{plane.tenant}/oauth2/v2.0/token"
    form = {
        "grant_type": "client_credentials", "client_id": who, "scope": f"{plane.agent_audience}/.default",
        "client_assertion_type": proofs.ASSERTION_TYPE,
        "client_assertion": proofs.make_assertion(owner.key, who, plane.issuer, now=clock.now),
        "join_state": owner.joined(who),
    }  # fmt: skip
    headers = {"DPoP": owner.proof(path)}
    assert (await owner.client.post(path, data=form, headers=headers)).status_code == 200
    assert (await owner.client.post(path, data=form, headers=headers)).json()["error"] == "invalid_dpop_proof"
    again = another(plane)
    transport = httpx.ASGITransport(create_app(again, (tokens_of.routes,)), client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        whole = await client.post(path, data=form, headers=headers)
        assert whole.json()["error"] == "use_dpop_nonce"
        fresh = Agent(client, again, owner.request.mover)
        # A clock that was ahead for a while, and tidied up, changes nothing.
        for ahead in (0, 7200):
            with again.database.transaction() as conn:
                housekeeping.tidy(conn, clock.now + ahead)
            answer = await client.post(path, data=form, headers={"DPoP": fresh.proof(path, key=owner.key)})
            assert "used before" in refused(answer)


@pytest.mark.parametrize("audience", ["https://evil.example", f"{URL}/x/oauth2/v2.0/token", [f"{URL}/v2.0"]])
async def test_attack_14_an_assertion_for_elsewhere_gets_nothing(owner, registered, plane, audience):
    made = proofs.make_assertion(owner.key, registered.client_id, audience, now=plane.clock())
    assert "aud" in refused(await owner.sign_in(registered.client_id, made))


@pytest.mark.parametrize("offset", [-125, 65, 86400])
async def test_attack_15_an_assertion_of_another_time_gets_nothing(owner, registered, plane, offset):
    who = registered.client_id
    made = proofs.make_assertion(owner.key, who, plane.issuer, now=plane.clock() + offset)
    assert "not of now" in refused(await owner.sign_in(who, made))
    assert (await owner.sign_in(who)).status_code == 200


async def test_attack_16_proofs_that_do_not_fit_are_refused(owner, registered, plane, clock):
    held = await token(owner, registered.client_id)
    now = clock.now
    plain = {"now": now, "nonce": plane.nonces.issue(now), "access_token": held}
    other = PrivateKey.for_agent()
    wrong = {
        "another key": (proofs.make_dpop(other, "GET", URL + DOOR, **plain), "invalid_dpop_proof"),
        "another method": (proofs.make_dpop(owner.key, "PUT", URL + DOOR, **plain), "invalid_dpop_proof"),
        "another address": (proofs.make_dpop(owner.key, "GET", URL + "/x", **plain), "invalid_dpop_proof"),
        "no token": (
            proofs.make_dpop(owner.key, "GET", URL + DOOR, **{**plain, "access_token": None}),
            "invalid_dpop_proof",
        ),
        "another token": (
            proofs.make_dpop(owner.key, "GET", URL + DOOR, **{**plain, "access_token": "x"}),
            "invalid_dpop_proof",
        ),
        "no nonce": (proofs.make_dpop(owner.key, "GET", URL + DOOR, **{**plain, "nonce": None}), "use_dpop_nonce"),
        "foreign nonce": (
            proofs.make_dpop(owner.key, "GET", URL + DOOR, **{**plain, "nonce": proofs.Nonces().issue(now)}),
            "use_dpop_nonce",
        ),
    }  # fmt: skip
    for name, (proof, code) in wrong.items():
        headers = {"Authorization": f"DPoP {held}", "DPoP": proof}
        answer = await owner.client.get(DOOR, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code), name
    stale = proofs.make_dpop(owner.key, "GET", URL + DOOR, **plain)
    clock.now += 301
    answer = await owner.client.get(DOOR, headers={"Authorization": f"DPoP {held}", "DPoP": stale})
    assert answer.json()["error"]["code"] == "use_dpop_nonce"


async def test_attack_42_a_clock_a_year_off_is_made_up_for_by_nonce_and_date(owner, registered, plane):
    """Only with the service's time is a proof taken; with its nonce a day off is near enough."""
    held = await token(owner, registered.client_id)
    for offset, status in ((-23 * 3600, 200), (23 * 3600, 200), (366 * 86400, 401), (-366 * 86400, 401)):
        now = plane.clock()
        proof = proofs.make_dpop(
            owner.key, "GET", URL + DOOR, now=now + offset, nonce=plane.nonces.issue(now), access_token=held
        )
        answer = await owner.client.get(DOOR, headers={"Authorization": f"DPoP {held}", "DPoP": proof})
        assert answer.status_code == status, offset


async def test_attack_44_an_agent_gets_nowhere_in_the_resource_api(owner, registered, plane):
    """It gets no token for it; with one made up by us it would still have no right."""
    who = registered.client_id
    answer = await owner.sign_in(who, scope="https://management.azure.com/.default")
    assert answer.json()["error"] == "invalid_scope"
    held = await token(owner, who)
    group = f"/subscriptions/{plane.subscription}/resourceGroups/g"
    container = f"{group}/providers/Microsoft.Storage/storageAccounts/a/blobServices/default/containers/c"
    role = f"{group}/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001"
    now = int(plane.clock())
    made_up = Principal(
        "agent", registered.oid, plane.tenant, "agent-1", frozenset({FULL_SCOPE}), URL, who, token_id="t",
        issued_at=now, expires_at=now + 600,
    )  # fmt: skip
    forged = tokens.issue_access(made_up, await plane.ring(), plane.issuer)
    for method, path in (("DELETE", container), ("PUT", role)):
        url = f"{path}?api-version=2022-04-01"
        answer = await owner.client.request(method, url, headers={"Authorization": f"Bearer {held}"}, json={})
        assert answer.status_code == 401
        answer = await owner.client.request(
            method, url, headers={"Authorization": f"Bearer {forged}"}, json={}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AuthorizationFailed")


async def test_a_disabled_identity_is_not_told_to_wipe_itself(owner, registered, plane):
    with plane.database.transaction() as conn:
        conn.execute(update(principals).where(principals.c.oid == registered.oid).values(enabled=False))
    assert "disabled" in refused(await owner.sign_in(registered.client_id))
