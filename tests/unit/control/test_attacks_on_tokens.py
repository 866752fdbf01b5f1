"""Forged, foreign, stale and misused tokens at the doors of a control plane; numbers are those of the attack list."""

from __future__ import annotations

import builtins
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from tests.unit.control.attacked import DOORS, Target, attacked, b64, door, refused, with_header
from tests.unit.control.conftest import START, URL, Made, app_of
from wherry.control import audit
from wherry.trust import clients, signed, tokens
from wherry.trust.keys import PrivateKey
from wherry.trust.tokens import Profile


@pytest.fixture(scope="module")
def target(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with attacked(made, tmp_path_factory.mktemp("attacked")) as target:
        yield target


@pytest.fixture
async def client(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app_of(target.plane), client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


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
