"""The providers that people may sign in by, as the directory keeps them."""

from __future__ import annotations

import json

from tests.unit.control.conftest import URL
from tests.unit.control.flows import signed_in
from wherry.control import audit
from wherry.control.services import upstream, vault
from wherry.model.errors import ApiError

ISSUER = "https://idp.example/one"
SECRET = "s%cret: with signs"
PUT = {"issuer": ISSUER, "clientId": "wherry", "clientSecret": SECRET, "allowedGroups": ["staff"]}
PROVIDERS = "/graph/v1.0/identity/identityProviders"


async def test_providers_are_kept_by_the_directory_and_their_secrets_never_told(client, made, plane):
    token = (await signed_in(client, made.password))["access_token"]
    client.headers["authorization"] = f"Bearer {token}"
    answer = await client.put(f"{PROVIDERS}/Corp", json=PUT)
    assert (answer.status_code, answer.json()["id"]) == (200, "corp")
    assert answer.json()["redirectUri"] == f"{URL}/signin/upstream/corp"
    listed = await client.get(PROVIDERS)
    assert SECRET not in answer.text + listed.text

    def secret():
        with plane.database.snapshot() as conn:
            try:
                return vault.get_secret(conn, plane.master, upstream.secret_name("corp"))
            except ApiError:
                return None

    assert secret() == SECRET
    kept = {name: value for name, value in PUT.items() if name != "clientSecret"}
    await client.put(f"{PROVIDERS}/corp", json={**kept, "enabled": False})
    assert secret() == SECRET
    assert "Sign in by" not in (await client.get("/signin")).text
    # A secret is not sent to whoever the name is given to next.
    await client.put(f"{PROVIDERS}/corp", json={**kept, "issuer": "https://evil.example"})
    assert secret() is None
    await client.put(f"{PROVIDERS}/corp", json=PUT)
    assert (await client.put(f"{PROVIDERS}/twin", json=PUT)).status_code == 409
    assert (
        await client.post("/graph/v1.0/users/admin/identities", json={"provider": "no", "subject": "s"})
    ).is_error
    told = {"provider": "corp", "subject": "s-1"}
    linked = await client.post("/graph/v1.0/users/admin/identities", json=told)
    assert linked.status_code == 201
    assert (await client.post("/graph/v1.0/users/admin/identities", json=told)).status_code == 409
    gone = f"/graph/v1.0/users/admin/identities/{linked.json()['id']}"
    assert (await client.delete(gone)).status_code == 204
    assert (await client.get(PROVIDERS)).status_code == 401, "what somebody signed in to by it has ended"
    with plane.database.snapshot() as conn:
        assert SECRET not in json.dumps(list(audit.records(conn)))


async def test_what_no_provider_can_be_is_refused(client, made):
    token = (await signed_in(client, made.password))["access_token"]
    client.headers["authorization"] = f"Bearer {token}"
    for change in (
        {"issuer": "http://idp.example"}, {"issuer": "https://user@idp.example"}, {"issuer": 7}, {"clientId": ""},
        {"allowedGroups": "staff"}, {"allowedSubjects": [1]}, {"allowedGroups": ["x"] * 201}, {"enabled": "yes"},
        {"secondFactor": ["otp"]}, {"secondFactor": {"amr": "otp"}}, {"caCertificate": "no certificate"},
        {"scopes": ["a\nb"]},
    ):  # fmt: skip
        answer = await client.put(f"{PROVIDERS}/corp", json={**PUT, **change})
        assert answer.status_code == 400, (change, answer.text)
    assert (await client.put(f"{PROVIDERS}/a.b", json=PUT)).status_code == 400
    assert (await client.delete(f"{PROVIDERS}/corp")).status_code == 404
