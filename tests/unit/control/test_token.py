"""The token authority: people's device codes and refresh tokens, in Entra's words."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from sqlalchemy import update

from tests.unit.control import flows
from tests.unit.control.conftest import START, URL
from wherry.control import audit
from wherry.control.db.tables_identity import principals
from wherry.trust import clients


def number(answer) -> tuple[int, str, int]:
    body = answer.json()
    assert body["error_description"].startswith(f"AADSTS{body['error_codes'][0]}: ")
    return answer.status_code, body["error"], body["error_codes"][0]


async def refresh(client, token: str, **fields: str):
    form = {
        "grant_type": "refresh_token",
        "client_id": clients.AZURE_CLI,
        "refresh_token": token,
        "scope": flows.SCOPE,
    }
    return await client.post("/organizations/oauth2/v2.0/token", data={**form, **fields})


async def tenants(client, token: str) -> int:
    answer = await client.get("/tenants?api-version=2022-12-01", headers={"Authorization": f"Bearer {token}"})
    return int(answer.status_code)


async def test_a_sign_in_has_all_that_msal_wants(client, made, plane, admin):
    tokens = await flows.signed_in(client, made.password)
    assert tokens["token_type"] == "Bearer"
    assert tokens["scope"] == flows.SCOPE
    assert tokens["expires_in"] == 3600
    info = json.loads(base64.urlsafe_b64decode(tokens["client_info"] + "=="))
    assert info == {"uid": admin, "utid": plane.tenant}
    claims = json.loads(base64.urlsafe_b64decode(tokens["id_token"].split(".")[1] + "=="))
    assert claims["aud"] == clients.AZURE_CLI
    assert claims["preferred_username"] == "admin"
    assert await tenants(client, tokens["access_token"]) == 200


async def test_the_way_of_a_code(client, made, clock):
    code = await flows.device_code(client)
    assert set(code) == {"user_code", "device_code", "verification_uri", "expires_in", "interval", "message"}
    assert code["verification_uri"] == f"{URL}/device"
    assert code["user_code"] in code["message"]
    assert number(await flows.poll(client, code)) == (400, "authorization_pending", 70016)
    assert number(await flows.poll(client, code)) == (400, "slow_down", 70016)
    page = await flows.consent_page(client, code["user_code"], made.password)
    await flows.decide(client, page, "approve")
    assert (await flows.poll(client, code)).status_code == 200
    assert number(await flows.poll(client, code)) == (400, "invalid_grant", 54005)


async def test_attack_29_a_code_that_is_denied_or_too_old(client, made, clock):
    denied, old = await flows.device_code(client), await flows.device_code(client)
    page = await flows.consent_page(client, denied["user_code"], made.password)
    assert "Denied" in (await flows.decide(client, page, "deny")).text
    assert number(await flows.poll(client, denied)) == (400, "authorization_declined", 70017)
    clock.now += 600
    assert number(await flows.poll(client, old)) == (400, "expired_token", 70019)


async def test_attack_26_codes_that_never_were_and_codes_of_others(client, made):
    assert number(await flows.poll(client, {"device_code": "guess"})) == (400, "bad_verification_code", 70018)
    code = await flows.device_code(client)
    answer = await flows.poll(client, code, client_id=clients.WHERRY_CLI)
    assert number(answer) == (400, "invalid_grant", 70000)
    assert number(await flows.poll(client, code)) == (400, "invalid_grant", 54005)


async def test_attack_27_of_many_polls_at_once_one_gets_the_token(client, made):
    code = await flows.device_code(client)
    await flows.decide(client, await flows.consent_page(client, code["user_code"], made.password), "approve")
    answers = await asyncio.gather(*(flows.poll(client, code) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, (400, "invalid_request", 900144)),
        ({"grant_type": "password"}, (400, "unsupported_grant_type", 70003)),
        ({"grant_type": flows.DEVICE_CODE}, (400, "invalid_request", 900144)),
        ({"grant_type": "refresh_token", "scope": "no-resource"}, (400, "invalid_scope", 70011)),
        ({"grant_type": "refresh_token", "scope": "https://evil/.default"}, (400, "invalid_resource", 500011)),
        ({"grant_type": "refresh_token", "scope": f"{URL}/.default https://vault.azure.net/.default"},
         (400, "invalid_scope", 28000)),
        ({"grant_type": "refresh_token", "client_id": clients.AZURE_CLI, "refresh_token": "x"},
         (400, "invalid_grant", 70000)),
        ({"grant_type": "client_credentials"}, (400, "invalid_client", 700027)),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_request(client, form, expected):
    assert number(await client.post("/organizations/oauth2/v2.0/token", data=form)) == expected


async def test_other_tenants_clients_and_bodies(client):
    form = {"client_id": clients.AZURE_CLI, "scope": flows.SCOPE}
    path = "/oauth2/v2.0/devicecode"
    other = await client.post(f"/11111111-1111-4111-8111-111111111111{path}", data=form)
    assert number(other) == (400, "invalid_tenant", 90002)
    unknown = await client.post(f"/common{path}", data={**form, "client_id": "x"})
    assert number(unknown) == (400, "unauthorized_client", 700016)
    assert number(await client.post(f"/common{path}", json=form)) == (400, "invalid_request", 900144)
    doubled = await client.post(
        f"/common{path}",
        content="client_id=a&client_id=b",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert number(doubled) == (400, "invalid_request", 90014)


async def test_people_get_no_code_to_register_agents_with(client):
    form = {"client_id": clients.AZURE_CLI, "scope": f"{URL}/agent.register"}
    assert number(await client.post("/common/oauth2/v2.0/devicecode", data=form)) == (
        400,
        "invalid_scope",
        65002,
    )


async def test_refreshing_rotates_and_reuse_ends_the_sign_in(client, made, plane):
    first = await flows.signed_in(client, made.password)
    second = (await refresh(client, first["refresh_token"])).json()
    third = (
        await refresh(
            client, second["refresh_token"], scope="https://vault.azure.net/.default offline_access"
        )
    ).json()
    assert third["scope"].startswith("https://vault.azure.net/")
    assert await tenants(client, second["access_token"]) == 200
    assert await tenants(client, third["access_token"]) == 401
    assert number(await refresh(client, first["refresh_token"]))[1] == "invalid_grant"
    assert number(await refresh(client, third["refresh_token"])) == (400, "invalid_grant", 50173)
    assert await tenants(client, second["access_token"]) == 401
    with plane.database.snapshot() as conn:
        assert any("reused" in record.get("reason", "") for record in audit.records(conn))


async def test_of_two_refreshes_at_once_one_wins(client, made):
    token = (await flows.signed_in(client, made.password))["refresh_token"]
    answers = await asyncio.gather(refresh(client, token), refresh(client, token))
    assert sorted(answer.status_code for answer in answers) == [200, 400]


async def test_refresh_tokens_are_of_one_client_and_end(client, made, clock):
    token = (await flows.signed_in(client, made.password))["refresh_token"]
    assert number(await refresh(client, token, client_id=clients.WHERRY_CLI)) == (
        400,
        "invalid_grant",
        700007,
    )
    clock.now += 8 * 3600
    assert number(await refresh(client, token)) == (400, "invalid_grant", 700082)


async def test_people_get_no_agents_tokens(client, made, plane):
    token = (await flows.signed_in(client, made.password))["refresh_token"]
    answer = await refresh(client, token, scope=f"{plane.agent_audience}/.default")
    assert number(answer) == (400, "invalid_scope", 65002)


async def test_az_asks_for_a_resource_that_ends_in_a_slash(client, made):
    token = (await flows.signed_in(client, made.password))["refresh_token"]
    answer = (
        await refresh(client, token, scope="https://management.azure.com//.default offline_access")
    ).json()
    assert await tenants(client, answer["access_token"]) == 200


async def test_a_disabled_user_is_out_at_once(client, made, plane, admin):
    tokens = await flows.signed_in(client, made.password)
    with plane.database.transaction() as conn:
        conn.execute(update(principals).where(principals.c.oid == admin).values(enabled=False))
    assert await tenants(client, tokens["access_token"]) == 401
    assert number(await refresh(client, tokens["refresh_token"])) == (400, "invalid_grant", 50057)


async def test_a_token_ends(client, made, clock):
    tokens = await flows.signed_in(client, made.password)
    clock.now = START + 3600
    answer = await client.get(
        "/tenants?api-version=2022-12-01", headers={"Authorization": f"Bearer {tokens['access_token']}"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "ExpiredAuthenticationToken")
    assert f'authorization_uri="{URL}/' in answer.headers["WWW-Authenticate"]


async def test_an_id_token_is_no_access_token(client, made):
    tokens = await flows.signed_in(client, made.password)
    assert await tenants(client, tokens["id_token"]) == 401


async def test_attack_33_too_many_codes(client):
    form = {"client_id": clients.AZURE_CLI, "scope": flows.SCOPE}
    answers = [await client.post("/common/oauth2/v2.0/devicecode", data=form) for _ in range(61)]
    assert {answer.status_code for answer in answers[:60]} == {200}
    assert answers[60].status_code == 429
    assert int(answers[60].headers["Retry-After"]) > 0


async def test_discovery_names_the_configured_authority_whatever_the_host_says(client, plane):
    path = f"/{plane.tenant}/v2.0/.well-known/openid-configuration"
    document = (await client.get(path, headers={"Host": "evil.example"})).json()
    assert document["issuer"] == plane.issuer
    assert all(
        value.startswith(URL) for name, value in document.items() if name.endswith(("_endpoint", "_uri"))
    )
    keys = (await client.get(document["jwks_uri"].removeprefix(URL))).json()
    assert len(keys["keys"]) == 1
    adfs = (await client.get("/adfs/.well-known/openid-configuration")).json()
    assert adfs["token_endpoint"] == f"{URL}/adfs/oauth2/token"
    cloud = (await client.get("/metadata/endpoints?api-version=2022-09-01")).json()
    assert cloud["authentication"]["audiences"] == [URL]
    assert cloud["resourceManager"] == cloud["authentication"]["loginEndpoint"] == URL
