"""Signing in by another provider: a provider that tells the truth, and the same one lying in every way that matters."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest

from tests.forms import hidden
from tests.unit.control.conftest import START, URL
from tests.unit.control.flows import device_code
from wherry.control import audit
from wherry.control.identity import sessions, upstream_client
from wherry.control.services import principals, upstream, users, vault
from wherry.control.services.upstream import Provider
from wherry.trust import signed
from wherry.trust import upstream as claims
from wherry.trust.keys import PrivateKey

ISSUER = "https://idp.example/one"
SECRET = "s%cret: with signs"
CORP = Provider(
    "corp", "Corp", ISSUER, "wherry", groups=("staff",), factor_methods=("otp",), factor_contexts=("gold",)
)


@dataclass
class Upstream:
    """A provider.  `lies` change its id tokens, `answer` is what it sends people back with."""

    clock: Any
    issuer: str = ISSUER
    key: PrivateKey = field(default_factory=PrivateKey.for_agent)
    kid: str = "k1"
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    lies: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    forged: str = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={
                "issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys", "token_endpoint": f"{self.issuer}/token",
                "authorization_endpoint": f"{self.issuer}/auth?tenant=1",
                "authorization_response_iss_parameter_supported": True, **self.document,
            })  # fmt: skip
        if request.url.path.endswith("keys"):
            return httpx.Response(200, json={"keys": [{**self.key.public.jwk(), "kid": self.kid}]})
        return self.token(dict(parse_qsl(request.content.decode())), request.headers.get("authorization", ""))

    def token(self, form: dict[str, str], told: str) -> httpx.Response:
        asked = self.codes.pop(form.get("code", ""), None)
        pair = base64.b64decode(told.removeprefix("Basic ")).decode()
        if (
            asked is None
            or pair != "wherry:s%25cret%3A%20with%20signs"
            or claims.challenge(form["code_verifier"]) != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"]
        ):
            return httpx.Response(400, json={"error": "invalid_grant"})
        now = int(self.clock())
        told_claims = {
            "iss": self.issuer, "aud": "wherry", "sub": "u-1", "iat": now, "exp": now + 300, "auth_time": now,
            "nonce": asked["nonce"], "preferred_username": "Alice.Example@corp.example", "name": "Alice",
            "groups": ["staff"], "amr": ["pwd", "otp"], **self.lies,
        }  # fmt: skip
        value = self.forged or signed.write(told_claims, self.key, "JWT", {"kid": self.kid})
        return httpx.Response(200, json={"id_token": value, "access_token": "x", "token_type": "Bearer"})

    def sends_back(self, address: str, **changes: str | None) -> str:
        """The address that a person comes back to, after the sign-in at `address`."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = f"code-{len(self.asked)}-{len(self.codes)}"
        self.codes[code] = asked
        told = {"code": code, "state": asked["state"], "iss": self.issuer, **changes}
        query = httpx.QueryParams({name: value for name, value in told.items() if value is not None})
        return f"{urlsplit(asked['redirect_uri']).path}?{query}"


@pytest.fixture
def corp(plane, admin, clock):
    """The provider, known to the control plane."""
    made = Upstream(clock)
    upstream_client.of(plane).transport = httpx.MockTransport(made)
    with plane.database.transaction() as conn:
        upstream.put(conn, CORP, START)
        vault.put_secret(conn, plane.master, upstream.secret_name("corp"), SECRET, admin, START)
    return made


async def left(client, provider="corp", **fields) -> str:
    """Press the button; the address at the provider."""
    form = hidden((await client.get("/signin")).text)
    answer = await client.post("/signin/upstream", data={**form, "provider": provider, **fields})
    assert answer.status_code == 200, answer.text
    found = re.search(r'content="0; url=([^"]*)"', answer.text)
    assert found is not None, answer.text
    return html.unescape(found[1])


async def refused(client, corp, why, path=None):
    """Come back, and be refused for `why`, without a session."""
    answer = await client.get(path or corp.sends_back(await left(client)))
    assert answer.status_code == 403, (why, answer.status_code, answer.text)
    assert why in html.unescape(answer.text), answer.text
    assert (await client.get("/factors")).status_code == 303


def session_of(plane, client):
    with plane.database.snapshot() as conn:
        return sessions.find(conn, client.cookies[sessions.COOKIE], plane.clock(), True)


def last(plane):
    with plane.database.snapshot() as conn:
        return list(audit.records(conn))[-1]


async def test_a_person_is_let_in_under_a_session_of_ours(client, corp, plane):
    assert "Sign in by Corp" in (await client.get("/signin")).text
    before = client.cookies[sessions.COOKIE]
    address = await left(client)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{ISSUER}/auth?tenant=1&response_type=code")
    assert asked["redirect_uri"] == f"{URL}/signin/upstream/corp"
    assert (asked["code_challenge_method"], asked["max_age"], asked["scope"]) == (
        "S256",
        "600",
        "openid profile",
    )
    assert asked["acr_values"] == "gold"
    answer = await client.get(corp.sends_back(address))
    assert (answer.status_code, answer.headers["location"]) == (303, "/device")
    assert client.cookies[sessions.COOKIE] != before
    session = session_of(plane, client)
    assert (session.name, session.whole, session.factor) == ("alice.example@corp", True, "upstream")
    with plane.database.snapshot() as conn:
        (link,) = upstream.links(conn, session.oid)
        assert (link.subject, link.invited) == ("u-1", False)
        trail = json.dumps(list(audit.records(conn)))
    assert '"wherry/upstream/user-made"' in trail
    assert asked["state"] not in trail
    assert SECRET not in trail
    # The second time it is the same user, by the subject alone.
    corp.lies = {"preferred_username": "admin", "email": "admin"}
    assert (await client.get(corp.sends_back(await left(client)))).status_code == 303
    assert session_of(plane, client).oid == session.oid


async def test_a_second_factor_is_ours_unless_the_provider_is_told_to_count_for_one(client, corp, plane):
    corp.lies = {"amr": ["pwd"]}
    await client.get(corp.sends_back(await left(client)))
    assert not session_of(plane, client).whole
    corp.lies = {"amr": ["pwd"], "acr": "gold"}
    await client.get(corp.sends_back(await left(client)))
    assert session_of(plane, client).whole


async def test_only_who_is_linked_or_on_a_list_is_let_in(client, corp, plane, clock):
    for lie in ({"groups": ["others"]}, {"groups": None}, {"sub": "staff", "groups": []}):
        corp.lies = lie
        answer = await client.get(corp.sends_back(await left(client)))
        assert (answer.status_code, "You are not known here" in answer.text) == (403, True)
    with plane.database.transaction() as conn:
        bob = users.create(conn, "bob", "Bob", "a long password", START)
        upstream.link(conn, ISSUER, "u-9", bob, START)
    corp.lies = {"sub": "u-9", "groups": []}
    assert (await client.get(corp.sends_back(await left(client)))).status_code == 303
    assert session_of(plane, client).oid == bob
    with plane.database.transaction() as conn:
        principals.enable(conn, bob, False)
    answer = await client.get(corp.sends_back(await left(client)))
    assert answer.status_code == 403
    # Whoever came by a list has to be on it still.
    corp.lies = {}
    assert (await client.get(corp.sends_back(await left(client)))).status_code == 303
    corp.lies = {"groups": ["left"]}
    assert (await client.get(corp.sends_back(await left(client)))).status_code == 403


async def test_attack_21_an_answer_of_another_provider_is_refused(client, corp, plane):
    """RFC 9207: an honest and a lying provider, and the code of one at the other."""
    liar = Provider("liar", "Liar", "https://liar.example", "wherry", groups=("staff",))
    with plane.database.transaction() as conn:
        upstream.put(conn, liar, START)
    for changes, why in (
        ({"iss": "https://liar.example"}, "of another issuer"),
        ({"iss": ISSUER + "/"}, "of another issuer"),
        ({"iss": None}, "of another issuer"),
    ):
        before = len(corp.asked)
        await refused(client, corp, why, corp.sends_back(await left(client), **changes))
        assert not [path for path in corp.asked[before:] if path.endswith("token")], "a code was sent away"
    # The state of a sign-in at one provider, on the way back from the other.
    path = corp.sends_back(await left(client)).replace("/upstream/corp", "/upstream/liar")
    await refused(client, corp, "no sign-in of this browser", path)
    before = last(plane)["seq"]
    await refused(client, corp, "no sign-in of this browser", path)
    assert last(plane)["seq"] == before, "anybody can ask for that: it is counted"


LIES = {
    "another issuer": {"iss": "https://idp.example/two"},
    "another audience": {"aud": ["wherry", "another"]},
    "nonce is of another sign-in": {"nonce": "n"},
    "exp is missing or not a time": {"exp": START - 100},
    "too long ago": {"auth_time": int(START) - 4000},
}


async def test_attack_21_a_token_that_is_not_for_this_sign_in_is_refused(client, corp, plane):
    for why, lies in LIES.items():
        corp.lies = lies
        await refused(client, corp, why)
        record = last(plane)
        assert (record["action"], record["result"]) == ("wherry/upstream/refused", "denied")
        assert why in record["reason"]


async def test_attack_01_02_of_a_provider_unsigned_and_shared_keys_are_refused(client, corp, plane):
    body = base64.urlsafe_b64encode(json.dumps({"iss": ISSUER, "sub": "u-1"}).encode()).decode().rstrip("=")
    for alg in ("none", "HS256"):
        head = base64.urlsafe_b64encode(json.dumps({"alg": alg, "kid": "k1"}).encode()).decode().rstrip("=")
        corp.forged = f"{head}.{body}.c2ln"
        await refused(client, corp, "header not allowed")


async def test_attack_18_22_a_way_back_is_for_one_browser_once_and_soon(client, corp, plane, clock):
    path = corp.sends_back(await left(client))
    stolen = dict(client.cookies)
    client.cookies.clear()
    await client.get("/signin")
    await refused(client, corp, "no sign-in of this browser", path)
    client.cookies.clear()
    client.cookies.update(stolen)
    await refused(client, corp, "no sign-in of this browser", path)
    path = corp.sends_back(await left(client))
    assert (await client.get(path)).status_code == 303
    client.cookies.clear()
    client.cookies.update(stolen)
    await refused(client, corp, "no sign-in of this browser", path)
    path = corp.sends_back(await left(client))
    clock.now += upstream.MINUTES + 1
    await refused(client, corp, "no sign-in of this browser", path)
    await refused(client, corp, "no sign-in of this browser", "/signin/upstream/corp")
    path = corp.sends_back(await left(client))
    await refused(client, corp, "a parameter is there twice", f"{path}&code=another")
    await refused(client, corp, "answered 400", corp.sends_back(await left(client), code="made-up"))
    for changes, why in (
        ({"code": None}, "holds no code"),
        ({"error": "access_denied"}, "refused: access_denied"),
    ):
        await refused(client, corp, why, corp.sends_back(await left(client), **changes))


async def test_attack_23_keys_of_a_provider_that_changed_are_read_again_but_not_for_everybody(
    client, corp, plane, clock
):
    assert (await client.get(corp.sends_back(await left(client)))).status_code == 303
    corp.key, corp.kid = PrivateKey.for_agent(), "k2"
    path = corp.sends_back(await left(client))
    client.cookies.pop("none", None)
    answer = await client.get(path)
    assert answer.status_code == 403
    clock.now += upstream_client.AGAIN
    read = corp.asked.count("/one/keys")
    assert (await client.get(corp.sends_back(await left(client)))).status_code == 303
    assert corp.asked.count("/one/keys") == read + 1
    corp.kid = "k1"
    old, corp.key = corp.key, PrivateKey.for_agent()
    assert old is not corp.key
    assert (await client.get(corp.sends_back(await left(client)))).status_code == 403


async def test_attack_72_a_provider_that_is_away_or_lies_about_itself_stops_nobody_with_a_password(
    client, corp, plane, made
):
    form = hidden((await client.get("/signin")).text)
    for document, status in (
        ({"issuer": "https://evil.example"}, 403),
        ({"token_endpoint": "http://x/"}, 403),
    ):
        corp.document = document
        answer = await client.post("/signin/upstream", data={**form, "provider": "corp"})
        assert answer.status_code == status, answer.text

    def away(_request):
        raise httpx.ConnectError("refused")

    upstream_client.of(plane).transport = httpx.MockTransport(away)
    answer = await client.post("/signin/upstream", data={**form, "provider": "corp"})
    assert (answer.status_code, "Sign in with a password" in answer.text) == (502, True)
    upstream_client.of(plane).transport = httpx.MockTransport(
        lambda _: httpx.Response(200, content=b"x" * 600_000)
    )
    answer = await client.post("/signin/upstream", data={**form, "provider": "corp"})
    assert "too long" in answer.text
    upstream_client.of(plane).transport = httpx.MockTransport(
        lambda _: httpx.Response(302, headers={"location": "http://169.254.169.254/"})
    )
    answer = await client.post("/signin/upstream", data={**form, "provider": "corp"})
    assert "answered 302" in answer.text
    answer = await client.post("/signin", data={**form, "login": "admin", "password": made.password})
    assert answer.status_code in (200, 303)
    with plane.database.snapshot() as conn:
        assert any(one["action"] == "wherry/signin" for one in audit.records(conn))


async def test_the_way_there_is_a_form_of_this_browser_and_few_may_be_begun(client, corp, plane):
    form = hidden((await client.get("/signin")).text)
    assert (await client.post("/signin/upstream", data={**form, "form_token": "x"})).status_code == 403
    assert (await client.post("/signin/upstream", data={**form, "provider": "nobody"})).status_code == 404
    assert (await client.get("/signin/upstream/nobody?state=x&code=y")).status_code == 404
    answers = [await client.post("/signin/upstream", data={**form, "provider": "corp"}) for _ in range(61)]
    assert [one.status_code for one in answers] == [200] * 60 + [429]


async def test_a_device_that_waits_is_decided_on_after_the_sign_in(client, corp):
    code = (await device_code(client))["user_code"]
    page = await client.post(
        "/device", data={**hidden((await client.get("/device")).text), "user_code": code}
    )
    assert "Sign in by Corp" in page.text
    answer = await client.post("/signin/upstream", data={**hidden(page.text), "provider": "corp"})
    found = re.search(r'content="0; url=([^"]*)"', answer.text)
    assert found is not None
    assert code not in found[1]
    page = await client.get(corp.sends_back(html.unescape(found[1])))
    assert (page.status_code, 'value="approve"' in page.text) == (200, True)
    assert hidden(page.text)["user_code"].replace("-", "") == code.replace("-", "")


async def test_a_provider_that_is_gone_leaves_its_people_without_a_way_and_nothing_else(client, corp, plane):
    await client.get(corp.sends_back(await left(client)))
    oid = session_of(plane, client).oid
    with plane.database.transaction() as conn:
        upstream.remove(conn, "corp")
        assert upstream.links(conn, oid) == []
        assert users.find(conn, oid) is not None
    assert "Sign in by" not in (await client.get("/signin")).text
