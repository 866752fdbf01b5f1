"""An agent's way in: a code bound to its key, one registration, tokens that die with identity, key or epoch."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import delete, update
from starlette.requests import Request

from tests.unit.control.conftest import URL
from tests.unit.control.flows import Agent
from wherry.control import audit
from wherry.control.access import Routes, agent, enrolment
from wherry.control.app import create_app
from wherry.control.areas import AREAS
from wherry.control.db.tables_identity import agent_keys, principals, role_assignments
from wherry.control.plane import caller
from wherry.control.services import device_codes, enrolments, identities, signing
from wherry.control.services import role_assignments as assignments
from wherry.model.errors import ApiError
from wherry.trust import proofs, tokens
from wherry.trust.enrolment import AGENT_CLIENT_ID, EnrolmentRequest
from wherry.trust.keys import PrivateKey
from wherry.trust.principals import Principal
from wherry.trust.roles import JOB_WRITER

MOVER = "/subscriptions/{}/resourceGroups/g/providers/Microsoft.StorageMover/storageMovers/m"
DOORS = Routes()


@DOORS.get("/doors/agent", agent())
async def agents_door(request: Request) -> dict[str, str]:
    return {"oid": caller(request).oid}


@DOORS.get("/doors/enrolment", enrolment())
async def enrolments_door(request: Request) -> dict[str, str]:
    return {"oid": caller(request).oid, "token": caller(request).token_id}


@pytest.fixture
async def client(plane):
    transport = httpx.ASGITransport(create_app(plane, (*AREAS, DOORS)), client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


@pytest.fixture
def new(client, plane) -> Agent:
    return Agent(client, plane, MOVER.format(plane.subscription))


@pytest.fixture
def registered(new, plane, clock) -> identities.AgentIdentity:
    with plane.database.transaction() as conn:
        return identities.create_agent(
            conn, name="agent-1", machine_id="/m", jwk=new.key.public.jwk(), now=clock.now
        )


def approve(plane, code, admin) -> None:
    with plane.database.transaction() as conn:
        assert (
            device_codes.approve(conn, plane.master, code["user_code"], admin, plane.clock()).state
            == "approved"
        )


async def knock(agent: Agent, door: str, token: str, scheme: str = "DPoP", **more) -> httpx.Response:
    proof = agent.proof(door, "GET", access_token=token, **more)
    return await agent.client.get(door, headers={"Authorization": f"{scheme} {token}", "DPoP": proof})


async def enrolment_token(new: Agent, admin: str) -> str:
    code = (await new.ask()).json()
    approve(new.plane, code, admin)
    answer = await new.redeem(code)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def test_the_enrolment_token_can_register_and_nothing_else(new, admin):
    code = (await new.ask()).json()
    assert 10 <= int(code["match"]) <= 99
    approve(new.plane, code, admin)
    answer = (await new.redeem(code)).json()
    assert answer["token_type"] == "DPoP"
    assert answer["expires_in"] == 300
    assert answer["authorization_details"] == [new.request.details()]
    assert "refresh_token" not in answer
    token = answer["access_token"]
    assert (await knock(new, "/doors/enrolment", token)).json()["oid"] == admin
    assert (await knock(new, "/doors/agent", token)).status_code == 401
    for scheme in ("Bearer", "DPoP"):
        assert (await knock(new, "/tenants", token, scheme)).status_code == 401


async def test_an_agent_must_prove_its_key_to_get_a_code(new, client):
    path = f"/{new.plane.tenant}/oauth2/v2.0/devicecode"
    form = {
        "client_id": AGENT_CLIENT_ID,
        "scope": f"{URL}/agent.register",
        "authorization_details": "[]",
    }
    answer = await client.post(path, data=form)
    assert answer.json()["error"] == "invalid_dpop_proof"
    stale = new.proof(path, nonce=None)
    answer = await client.post(path, data=form, headers={"DPoP": stale})
    assert answer.json()["error"] == "use_dpop_nonce"
    fresh = new.proof(path, nonce=answer.headers["DPoP-Nonce"])
    answer = await client.post(path, data=form, headers={"DPoP": fresh})
    assert answer.json()["error"] == "invalid_authorization_details"
    again = await client.post(path, data=form, headers={"DPoP": fresh})
    assert again.json()["error"] == "invalid_dpop_proof"


async def test_attack_28_another_key_burns_the_code(new, admin):
    code = (await new.ask()).json()
    approve(new.plane, code, admin)
    assert (await new.redeem(code, PrivateKey.for_agent())).json()["error"] == "invalid_grant"
    assert (await new.redeem(code)).json()["error"] == "invalid_grant"


async def test_attack_29_redeeming_twice_takes_the_first_token_back(new, admin):
    code = (await new.ask()).json()
    approve(new.plane, code, admin)
    token = (await new.redeem(code)).json()["access_token"]
    assert (await new.redeem(code)).status_code == 400
    approver = principal_of(token, new)
    with new.plane.database.transaction() as conn, pytest.raises(ApiError, match="not valid"):
        enrolments.claim(conn, approver, new.request, new.plane.clock())


def principal_of(token: str, new: Agent) -> Principal:
    with new.plane.database.snapshot() as conn:
        ring = signing.ring(conn, new.plane.master, new.plane.clock())
    profile = tokens.Profile(tokens.ENROLMENT, new.plane.arm_audiences, bound=True)
    return tokens.verify_token(token, ring, profile, new.plane.issuer, new.plane.clock())


async def test_a_token_registers_once_and_answers_the_same_again(new, admin, plane, clock):
    approver = principal_of(await enrolment_token(new, admin), new)
    with plane.database.transaction() as conn:
        assert enrolments.claim(conn, approver, new.request, clock.now) is None
        made = identities.create_agent(
            conn, name="a", machine_id="/m", jwk=new.key.public.jwk(), now=clock.now
        )
        enrolments.complete(conn, approver, made.oid)
    with plane.database.transaction() as conn:
        assert enrolments.claim(conn, approver, new.request, clock.now) == made.oid
        with pytest.raises(ApiError, match="differs"):
            enrolments.claim(conn, approver, EnrolmentRequest(new.request.mover, "other"), clock.now)
        with pytest.raises(ApiError, match="not valid"):
            enrolments.claim(conn, approver, new.request, clock.now + 300)


async def test_attack_30_a_right_lost_between_approval_and_registration(new, admin, plane, clock):
    approver = principal_of(await enrolment_token(new, admin), new)
    with plane.database.transaction() as conn:
        conn.execute(delete(role_assignments))
        with pytest.raises(ApiError) as refused:
            enrolments.claim(conn, approver, new.request, clock.now)
    assert (refused.value.status, refused.value.code) == (403, "AuthorizationFailed")


async def test_a_registered_agent_signs_in_and_is_known(new, registered):
    answer = await new.sign_in(registered.client_id)
    assert (answer.status_code, answer.json()["token_type"], answer.json()["expires_in"]) == (
        200,
        "DPoP",
        600,
    )
    known = await knock(new, "/doors/agent", answer.json()["access_token"])
    assert known.json() == {"oid": registered.oid}
    assert known.headers["DPoP-Nonce"]


async def test_an_assertion_counts_once(new, registered, plane):
    assertion = proofs.make_assertion(new.key, registered.client_id, plane.issuer, now=plane.clock())
    assert (await new.sign_in(registered.client_id, assertion)).status_code == 200
    again = await new.sign_in(registered.client_id, assertion)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_client")
    with plane.database.snapshot() as conn:
        assert "used before" in list(audit.records(conn))[-1]["reason"]


async def test_who_gets_no_token(new, registered, plane, client):
    thief = Agent(client, plane, new.request.mover)
    strangers = [
        await thief.sign_in(registered.client_id),
        await new.sign_in("00000000-0000-4000-8000-000000000000"),
        await new.sign_in(registered.client_id, client_id="00000000-0000-4000-8000-000000000000"),
        await new.sign_in(registered.client_id, client_assertion_type="other"),
        await new.sign_in(
            registered.client_id, proofs.make_assertion(new.key, registered.client_id, URL, now=plane.clock())
        ),
        await new.sign_in(registered.client_id, "a.b.c"),
    ]
    assert {(one.status_code, one.json()["error"]) for one in strangers} == {(400, "invalid_client")}
    scope = await new.sign_in(registered.client_id, scope=f"{URL}/.default")
    assert scope.json()["error"] == "invalid_scope"
    path = f"/{plane.tenant}/oauth2/v2.0/token"
    form = {
        "grant_type": "client_credentials", "scope": f"{plane.agent_audience}/.default",
        "client_assertion_type": proofs.ASSERTION_TYPE,
        "client_assertion": proofs.make_assertion(new.key, registered.client_id, plane.issuer, now=plane.clock()),
    }  # fmt: skip
    assert (await client.post(path, data=form)).json()["error"] == "invalid_dpop_proof"
    mixed = await new.post(path, form, key=thief.key)
    assert mixed.json()["error"] == "invalid_client"


async def test_attack_17_a_stolen_token_is_worth_nothing_without_the_key(new, registered, client):
    token = (await new.sign_in(registered.client_id)).json()["access_token"]
    door = "/doors/agent"
    attempts = {
        "no proof": {"Authorization": f"DPoP {token}"},
        "as bearer": {"Authorization": f"Bearer {token}"},
        "other key": {
            "Authorization": f"DPoP {token}",
            "DPoP": new.proof(door, "GET", key=PrivateKey.for_agent(), access_token=token),
        },
        "other address": {
            "Authorization": f"DPoP {token}",
            "DPoP": new.proof("/x", "GET", access_token=token),
        },
        "other method": {
            "Authorization": f"DPoP {token}",
            "DPoP": new.proof(door, "POST", access_token=token),
        },
        "no token hash": {"Authorization": f"DPoP {token}", "DPoP": new.proof(door, "GET")},
    }
    for name, headers in attempts.items():
        answer = await client.get(door, headers=headers)
        assert answer.status_code == 401, name
        assert "DPoP-Nonce" in answer.headers, name
        assert answer.headers["WWW-Authenticate"].startswith("DPoP error="), name
    proof = new.proof(door, "GET", access_token=token)
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
    assert (await client.get(door, headers=headers)).status_code == 200
    assert (await client.get(door, headers=headers)).json()["error"]["code"] == "invalid_dpop_proof"


async def test_an_agents_token_opens_no_resource(new, registered):
    token = (await new.sign_in(registered.client_id)).json()["access_token"]
    for scheme in ("Bearer", "DPoP"):
        assert (await knock(new, "/tenants", token, scheme)).status_code == 401
    assert (await knock(new, "/doors/enrolment", token)).status_code == 401


async def test_attack_10_a_deleted_identity_is_refused_at_once_and_told_so(
    new, registered, plane, clock, admin
):
    token = (await new.sign_in(registered.client_id)).json()["access_token"]
    scope = f"/subscriptions/{plane.subscription}"
    with plane.database.transaction() as conn:
        assignments.create(
            conn, role=JOB_WRITER.guid, principal_id=registered.oid, principal_type="ServicePrincipal", scope=scope,
            by=admin, now=clock.now,
        )  # fmt: skip
        identities.delete_agent(conn, registered.oid, clock.now)
        identities.delete_agent(conn, registered.oid, clock.now)
        assert not assignments.of_principal(conn, registered.oid)
        assert identities.find_agent(conn, registered.oid) is None
    answer = await knock(new, "/doors/agent", token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "identity_deleted")
    answer = await new.sign_in(registered.client_id)
    assert answer.json()["error"] == "invalid_client"
    assert "identity_deleted" in answer.json()["error_description"]
    with plane.database.transaction() as conn, pytest.raises(ApiError, match="another identity"):
        identities.create_agent(conn, name="a", machine_id="/m", jwk=new.key.public.jwk(), now=clock.now)


@pytest.mark.parametrize(
    "change",
    [
        update(principals).where(principals.c.kind == "agent").values(enabled=False),
        update(principals).where(principals.c.kind == "agent").values(epoch=9),
        update(agent_keys).values(state="retired"),
        update(agent_keys).values(expires_at=0.0),
    ],
)
async def test_what_is_revoked_is_refused_at_the_next_request(new, registered, plane, change):
    token = (await new.sign_in(registered.client_id)).json()["access_token"]
    with plane.database.transaction() as conn:
        conn.execute(change)
    answer = await knock(new, "/doors/agent", token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_token")


async def test_tokens_end(new, registered, clock):
    token = (await new.sign_in(registered.client_id)).json()["access_token"]
    clock.now += 600
    assert (await knock(new, "/doors/agent", token)).status_code == 401


def test_bad_keys_make_no_identity(plane, clock):
    with plane.database.transaction() as conn, pytest.raises(ApiError) as refused:
        identities.create_agent(conn, name="a", machine_id="/m", jwk={"kty": "oct", "k": "x"}, now=clock.now)
    assert refused.value.status == 400
