"""Forged, foreign, stale and misused tokens at the doors of a control plane; numbers are those of the attack list.

One control plane for all of them: nothing here gets in, so nothing changes; what has to change is made in the test.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import hmac
import itertools
import json
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from joserfc import jws
from sqlalchemy import event, select

from tests.unit.control.conftest import START, URL, Clock, Made, app_of
from wherry.control import audit, deployment
from wherry.control.db.tables_identity import meta
from wherry.control.plane import Plane
from wherry.control.services import principals, refresh, role_assignments, signing, users
from wherry.control.settings import Settings
from wherry.trust import clients, signed, tokens
from wherry.trust.keys import PrivateKey
from wherry.trust.principals import FULL_SCOPE, Principal
from wherry.trust.roles import READER
from wherry.trust.tokens import KeyRing, Profile

DOORS = ("/tenants?api-version=2022-12-01", "/graph/v1.0/users", "/graph/v1.0/me")
_DOORS = itertools.cycle(DOORS)


@dataclass
class Target:
    """A control plane, its keys, and somebody who is signed in to it."""

    plane: Plane
    ring: KeyRing
    who: Principal
    clock: Clock

    @property
    def genuine(self) -> str:
        return tokens.issue_access(self.who, self.ring, self.plane.issuer)

    def claims(self) -> dict[str, Any]:
        return part(self.genuine, 1)

    def forged(
        self, typ: str = tokens.ACCESS, key: PrivateKey | None = None, kid: Any = None, **changes: Any
    ) -> str:
        """The genuine token with other claims (`...` takes one away), signed as ours are."""
        claims = {name: value for name, value in (self.claims() | changes).items() if value is not ...}
        return signed.write(claims, key or self.ring.signer, typ, {"kid": kid or self.ring.kid})


@pytest.fixture(scope="module")
def target(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    state = shutil.copytree(made.path, tmp_path_factory.mktemp("attacked") / "state")
    opened, clock = deployment.create_or_open(state, START), Clock()
    plane = Plane(
        opened.database, opened.master, opened.tenant, opened.subscription, URL, opened.ca_file.read_text(),
        clock=clock, settings=Settings(second_factor=False),
    )  # fmt: skip
    with opened.database.transaction() as conn:
        admin = conn.execute(select(meta.c.value).where(meta.c.key == "first_administrator")).scalar_one()
        ring = signing.ring(conn, opened.master, START)
    yield Target(plane, ring, signed_in(plane, admin, "admin"), clock)
    opened.close()


@pytest.fixture
async def client(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app_of(target.plane), client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


def signed_in(plane: Plane, oid: str, name: str) -> Principal:
    """A sign-in of somebody, as the token authority records it."""
    with plane.database.transaction() as conn:
        family = refresh.begin(conn, oid, clients.AZURE_CLI, START).family
        row = principals.require(conn, oid)
    return Principal(
        "user", oid, plane.tenant, name, frozenset({FULL_SCOPE}), URL, clients.AZURE_CLI, family, "uti",
        epoch=row.epoch, issued_at=int(START), expires_at=int(START) + 3600,
    )  # fmt: skip


def b64(document: Any) -> str:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(value: str, number: int) -> dict[str, Any]:
    text = value.split(".")[number]
    return dict(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))


def with_header(target: Target, header: dict[str, Any]) -> str:
    """A token whose signature holds, by our own key, under a header that we would never write."""
    head = {"alg": "RS256", "typ": tokens.ACCESS, "kid": target.ring.kid, **header}
    first = f"{b64(head)}.{b64(target.claims())}"
    algorithm = jws.JWSRegistry.algorithms["RS256"]
    key = target.ring.signer.jose
    return f"{first}.{b64(algorithm.sign(first.encode(), key))}"


async def door(client: httpx.AsyncClient, token: str, path: str = DOORS[0]) -> httpx.Response:
    return await client.get(path, headers={"authorization": f"Bearer {token}"})


async def refused(client: httpx.AsyncClient, token: str, code: str = "InvalidAuthenticationToken") -> None:
    """At one door after the other: they have one lock."""
    answer = await door(client, token, next(_DOORS))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code), answer.text
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_the_genuine_one_is_let_in(client, target):
    for path in DOORS:
        assert (await door(client, target.genuine, path)).status_code == 200
    assert (await door(client, with_header(target, {}))).status_code == 200


async def test_attack_01_a_token_without_a_signature(client, target):
    for alg in ("none", "None", "NONE", ""):
        for signature in ("", target.genuine.split(".")[2]):
            head = b64({"alg": alg, "typ": tokens.ACCESS, "kid": target.ring.kid})
            await refused(client, f"{head}.{b64(target.claims())}.{signature}")
    with target.plane.database.transaction() as conn:
        target.plane.counters.flush(conn, START, everything=True)
        counted = [one for one in audit.records(conn) if one["result"] == "counted"]
    assert sum(one["count"] for one in counted if one["details"]["result"] == "denied") >= 8


async def test_attack_02_the_public_key_as_a_shared_secret(client, target):
    public = target.ring.signer.public
    for secret in (
        public.jose.as_pem(private=False),
        json.dumps(public.jwk()).encode(),
        public.jwk()["n"].encode(),
    ):
        for alg, digest in (("HS256", "sha256"), ("HS512", "sha512")):
            first = (
                f"{b64({'alg': alg, 'typ': tokens.ACCESS, 'kid': target.ring.kid})}.{b64(target.claims())}"
            )
            await refused(client, f"{first}.{b64(hmac.digest(secret, first.encode(), digest))}")


async def test_attack_03_a_kid_is_only_compared(client, target, monkeypatch):
    opened: list[str] = []
    statements: list[str] = []
    real = builtins.open

    def watched(file, *args, **kwargs):
        opened.append(str(file))
        return real(file, *args, **kwargs)

    def noted(_conn, _cursor, statement, parameters, _context, _many):
        statements.append(f"{statement} {parameters}")

    kids = [
        "../../dev/null",
        "' OR 1=1; --",
        "k" * 1000,
        "%00",
        "",
        "/etc/passwd",
        7,
        None,
        ["a"],
        {"a": 1},
        True,
    ]
    event.listen(target.plane.database.engine, "before_cursor_execute", noted)
    monkeypatch.setattr(builtins, "open", watched)
    try:
        for kid in kids:
            await refused(client, with_header(target, {"kid": kid}))
        await refused(client, with_header(target, {"kid": "k" * 10_240}))
    finally:
        event.remove(target.plane.database.engine, "before_cursor_execute", noted)
    assert not [path for path in opened if "null" in path or "passwd" in path]
    assert not [one for one in statements if "OR 1=1" in one or "kkkk" in one or "passwd" in one]


async def test_attack_04_a_header_that_points_to_other_keys(client, target, monkeypatch):
    def connect(*_args):
        raise AssertionError("a connection was made for a token")

    monkeypatch.setattr(socket.socket, "connect", connect)
    own = PrivateKey.for_agent()
    header: dict[str, Any]
    for header in (
        {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/cert"}, {"x5c": ["MIIB"]}, {"x5t": "AAAA"},
    ):  # fmt: skip
        await refused(client, with_header(target, header))
    ours, other = target.ring.kid, own.thumbprint
    for header in (
        {"kid": other},
        {"jwk": own.public.jwk(), "kid": other},
        {"jwk": own.public.jwk(), "kid": ours},
    ):
        await refused(client, signed.write(target.claims(), own, tokens.ACCESS, header))


async def test_attack_05_what_is_critical_and_not_understood(client, target):
    odd: list[dict[str, Any]] = [
        {"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": ["b64"], "b64": False}, {"b64": False},
    ]  # fmt: skip
    for header in odd:
        await refused(client, with_header(target, header))


async def test_attack_06_malformed_and_huge_tokens_cost_little(client, target):
    _, payload, signature = target.genuine.split(".")
    head = target.genuine.split(".")[0]
    twice = b'{"alg":"none","alg":"RS256","typ":"at+jwt","kid":"' + target.ring.kid.encode() + b'"}'
    deep, unclosed = b"[" * 5000 + b"]" * 5000, b'{"a":' * 2000
    forged = [
        f"{b64(twice)}.{payload}.{signature}",
        f"{head}.{b64(deep)}.{signature}",
        f"{b64(deep)}.{payload}.{signature}",
        f"{head}.{b64(unclosed)}.{signature}",
        f"{head}.{'A' * 1_000_000}.{signature}",
        "A" * 1_000_000,
        "." * 1_000_000,
        "..",
        "a.b.c",
        f"{head}.{payload}.{signature}.{signature}.",
        "\u00e9.b.c",
    ]
    profile = Profile(tokens.ACCESS, frozenset({URL}))
    for token in forged:
        spent = []
        for _ in range(3):
            began = time.thread_time()
            with pytest.raises(signed.Untrusted):
                tokens.verify_token(token, target.ring, profile, target.plane.issuer, START)
            spent.append(time.thread_time() - began)
        assert min(spent) < 0.05, f"{token[:60]} took {min(spent)} s"
        if token.isascii():
            await refused(client, token)


async def test_attack_07_a_token_for_another_audience(client, target):
    audiences = (
        "https://storage.azure.com", target.plane.agent_audience, f"{URL}/vault", f"{URL}.evil.example", URL + "//",
        f"{URL}/x", URL.upper(), "https://vault.azure.net",
    )  # fmt: skip
    for audience in audiences:
        await refused(client, target.forged(aud=audience))
    for audience in ([URL], [], "", 7, None, {"a": 1}, ...):
        await refused(client, target.forged(aud=audience))
    # Of the directory: not at the resource API, which does more.
    graph = target.forged(aud=f"{URL}/graph")
    assert [(await door(client, graph, path)).status_code for path in DOORS] == [401, 200, 200]
    agent = target.forged(aud=target.plane.agent_audience, idtyp="app")
    await refused(client, agent)
    beat = await client.post(
        "/agent/v1/heartbeat", headers={"authorization": f"Bearer {target.genuine}"}, json={}
    )
    assert beat.status_code == 401


async def test_attack_08_a_token_of_another_issuer(client, target):
    issuer, tenant = target.plane.issuer, target.plane.tenant
    for forged in (
        issuer + "/", issuer + "/x", issuer.upper(), f"{issuer}.evil.example", f"https://sts.windows.net/{tenant}/",
        issuer.replace(tenant, "11111111-2222-3333-4444-555555555555"), issuer.replace("https", "http"),
        f"{URL}/organizations/v2.0", "", None, 7, [issuer], ...,
    ):  # fmt: skip
        await refused(client, target.forged(iss=forged))


async def test_attack_09_times_that_are_over_to_come_or_none(client, target):
    now = int(START)
    await refused(client, target.forged(exp=now), "ExpiredAuthenticationToken")
    await refused(client, target.forged(exp=0), "ExpiredAuthenticationToken")
    for changes in ({"nbf": now + 5}, {"iat": now + 5}):
        await refused(client, target.forged(**changes))
    value: Any
    for name in ("exp", "nbf", "iat"):
        for value in (..., None, str(now + 600), now + 0.5, 1e300, -1, True, [], 2**60):
            await refused(client, target.forged(**{name: value}))


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


async def test_attack_12_one_kind_of_token_is_no_other(client, target):
    """An id token, an enrolment token, an assertion and a key proof at the door; an access token as an assertion."""
    identity = tokens.issue_id(replace(target.who, audience=URL), target.ring, target.plane.issuer, "Admin")
    await refused(client, identity)
    await refused(client, target.forged(typ="JWT"))
    for typ in (tokens.ENROLMENT, "dpop+jwt", "client-authentication+jwt", "AT+JWT", "application/at+jwt"):
        await refused(client, target.forged(typ=typ))
    form = {
        "grant_type": "client_credentials",
        "client_id": clients.AZURE_CLI,
        "scope": f"{URL}/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
    for misused in (target.genuine, identity):
        answer = await client.post(
            "/organizations/oauth2/v2.0/token", data={**form, "client_assertion": misused}
        )
        assert (answer.status_code, answer.json()["error"]) in (
            (400, "invalid_client"),
            (401, "invalid_client"),
        )


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
