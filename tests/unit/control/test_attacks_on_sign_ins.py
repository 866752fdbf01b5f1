"""Sign-ins under attack: revoked people, codes, refresh tokens, ways elsewhere, old keys, poisoned hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.unit.control.attacked import Target, attacked, door, refused, signed_in
from tests.unit.control.conftest import START, URL, Made, app_of
from wherry.control import audit
from wherry.control.services import principals, refresh, role_assignments, signing, users
from wherry.trust import clients, tokens
from wherry.trust.roles import READER


@pytest.fixture(scope="module")
def target(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with attacked(made, tmp_path_factory.mktemp("attacked")) as target:
        yield target


@pytest.fixture
async def client(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app_of(target.plane), client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


async def test_attack_11_who_is_disabled_or_loses_a_role_is_out_at_the_next_request(client, target):
    with target.plane.database.transaction() as conn:
        oid = users.create(conn, "mallory", "Mallory", "a long password", START)
        given = role_assignments.create(
            conn, role=READER.guid, principal_id=oid, principal_type="User", scope="/", by=oid, now=START
        )
    token = tokens.issue_access(signed_in(target.plane, oid, "mallory"), target.ring, target.plane.issuer)
    groups = f"/subscriptions/{target.plane.subscription}/resourcegroups?api-version=2024-11-01"
    assert (await door(client, token, groups)).status_code == 200
    with target.plane.database.transaction() as conn:
        role_assignments.remove(conn, given)
    answer = await door(client, token, groups)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AuthorizationFailed")
    assert (await door(client, token)).status_code == 200
    with target.plane.database.transaction() as conn:
        principals.enable(conn, oid, False)
    await refused(client, token)
    with target.plane.database.transaction() as conn:
        principals.enable(conn, oid, True)
    await refused(client, token)
    with target.plane.database.snapshot() as conn:
        denied = [one for one in audit.records(conn, limit=9999) if one.get("actor") == oid]
    assert ("denied", 403) in {(one["result"], one.get("status")) for one in denied}


async def test_attack_18_codes_are_not_given_to_browsers_at_all(client, target):
    """There is no authorization code to replay: nothing gives one, and nothing takes one."""
    for form in (
        {"grant_type": "authorization_code", "code": "x", "redirect_uri": URL, "code_verifier": "v" * 43},
        {"grant_type": "authorization_code", "code": "x", "code_challenge_method": "plain"},
        {"grant_type": "password", "username": "admin", "password": "x"},
        {"grant_type": "implicit"},
    ):
        answer = await client.post(
            "/organizations/oauth2/v2.0/token", data={**form, "client_id": clients.AZURE_CLI}
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


async def use(client: httpx.AsyncClient, token: str) -> httpx.Response:
    form = {
        "grant_type": "refresh_token", "client_id": clients.AZURE_CLI, "refresh_token": token,
        "scope": f"{URL}/.default offline_access",
    }  # fmt: skip
    return await client.post("/organizations/oauth2/v2.0/token", data=form)


async def test_attack_19_a_refresh_token_is_used_once(client, target):
    with target.plane.database.transaction() as conn:
        first = refresh.begin(conn, target.who.oid, clients.AZURE_CLI, START)
    answer = await use(client, first.token)
    assert answer.status_code == 200
    following, access = answer.json()["refresh_token"], answer.json()["access_token"]
    assert (await door(client, access)).status_code == 200
    reused = await use(client, first.token)
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    # The thief's or the owner's, nobody can tell: all of the family ends.
    assert (await use(client, following)).json()["error"] == "invalid_grant"
    await refused(client, access)
    with target.plane.database.snapshot() as conn:
        assert any("reused" in one.get("reason", "") for one in audit.records(conn, limit=9999))


async def test_attack_19_of_two_parallel_uses_one_wins(client, target):
    with target.plane.database.transaction() as conn:
        first = refresh.begin(conn, target.who.oid, clients.AZURE_CLI, START)
    answers = await asyncio.gather(*(use(client, first.token) for _ in range(5)))
    assert sorted(one.status_code for one in answers) == [200, 400, 400, 400, 400]


async def test_attack_20_nobody_is_sent_elsewhere(client, target):
    for address in (
        "https://evil.example", f"{URL}.evil.example", f"{URL}@evil.example", f"{URL}:444/", f"{URL}/#",
        "//evil.example", "/\\evil.example", "javascript:alert(1)", f"{URL}/signin/upstream/corp/../../x",
    ):  # fmt: skip
        for path in ("/organizations/oauth2/v2.0/authorize", f"/{target.plane.tenant}/oauth2/v2.0/authorize"):
            answer = await client.get(
                path, params={"redirect_uri": address, "response_type": "code", "state": "s"}
            )
            assert (answer.status_code, answer.headers.get("location")) == (404, None)
        page = await client.get("/signin", params={"next": address, "redirect_uri": address})
        assert (page.status_code, "evil" in page.text) == (200, False)
        for path in ("/factors", "/pages/agents"):
            answer = await client.get(path, params={"next": address})
            assert answer.headers.get("location", "/signin") == "/signin"


async def test_attack_23_retired_and_following_keys(client, target):
    """At the end, as it moves the clock and the keys."""
    plane, old, began = target.plane, target.ring, target.clock.now
    with plane.database.transaction() as conn:
        target.clock.now = began + signing.SIGNS - 3600
        assert signing.rotate(conn, plane.master, plane.clock())
        both = signing.ring(conn, plane.master, plane.clock())
    assert both.kid == old.kid
    (following,) = set(both.verifying) - {old.kid}
    published = (await client.get(f"/{plane.tenant}/discovery/v2.0/keys")).json()["keys"]
    assert {one["kid"] for one in published} == {old.kid, following}
    target.clock.now = began + signing.SIGNS + 60
    with plane.database.snapshot() as conn:
        now = signing.ring(conn, plane.master, plane.clock())
    assert now.kid == following
    moment = int(plane.clock())
    times = {"iat": moment, "nbf": moment, "exp": moment + 600}
    assert (await door(client, target.forged(**times))).status_code == 200
    assert (await door(client, target.forged(key=now.signer, kid=now.kid, **times))).status_code == 200
    await refused(client, target.forged(key=now.signer, kid=old.kid, **times))
    target.clock.now = began + signing.SIGNS + signing.VERIFIES_AFTER + 120
    moment = int(plane.clock())
    times = {"iat": moment, "nbf": moment, "exp": moment + 600}
    await refused(client, target.forged(**times))
    assert (await door(client, target.forged(key=now.signer, kid=now.kid, **times))).status_code == 200


async def test_attack_24_a_poisoned_host_changes_no_name(client, target):
    genuine = (await client.get(f"/{target.plane.tenant}/v2.0/.well-known/openid-configuration")).json()
    for headers in (
        {"host": "evil.example"}, {"host": "evil.example:443"}, {"x-forwarded-host": "evil.example"},
        {"forwarded": "host=evil.example"}, {"x-forwarded-proto": "http"}, {"x-original-url": "https://evil.example"},
        {"host": "plane.example.evil.example"},
    ):  # fmt: skip
        for path in (
            f"/{target.plane.tenant}/v2.0/.well-known/openid-configuration", "/metadata/endpoints",
            "/adfs/.well-known/openid-configuration",
        ):  # fmt: skip
            answer = await client.get(path, headers=headers)
            assert answer.status_code in (200, 400, 421)
            assert "evil" not in answer.text
            if path.startswith(f"/{target.plane.tenant}/") and answer.status_code == 200:
                assert answer.json() == genuine
        answer = await client.post(
            "/organizations/oauth2/v2.0/devicecode", headers=headers,
            data={"client_id": clients.AZURE_CLI, "scope": f"{URL}/.default"},
        )  # fmt: skip
        assert "evil" not in answer.text
