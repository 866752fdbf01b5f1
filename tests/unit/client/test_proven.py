"""Proofs, nonces, clocks and tokens against a server that checks them for real."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tests.tls_server import CLIENT, Answer, Authority, TlsServer
from wherry.client import proven
from wherry.client.proven import AgentIdentity, IdentityGone, InMemory, ProvenConnection
from wherry.model.errors import ApiError
from wherry.trust.keys import PrivateKey

DAY = 86400.0


@pytest.fixture
def key() -> PrivateKey:
    return PrivateKey.for_agent()


@pytest.fixture
def connect(
    server: TlsServer, authority: Authority, key: PrivateKey
) -> Iterator[Callable[..., ProvenConnection]]:
    opened: list[ProvenConnection] = []
    authority.agent_tokens(key)
    server.on("POST", "/agent/v1/heartbeat", authority.guard(Answer(200, {"interval": 30})))

    def connect(clock: Callable[[], float] = time.time) -> ProvenConnection:
        identity = AgentIdentity(
            server.url,
            server.ca_file,
            CLIENT,
            authority.token_endpoint,
            authority.issuer,
            "aud",
            InMemory(key),
        )
        opened.append(ProvenConnection(identity, clock))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def test_an_agent_gets_its_token_and_is_let_in(
    connect: Callable[..., ProvenConnection], authority: Authority
) -> None:
    door = connect()

    answers = [door.send("POST", "/agent/v1/heartbeat", json={}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert authority.tokens == ["token-1"]


@pytest.mark.parametrize("offset", [-3 * 3600.0, 3 * 3600.0, DAY * 400])
def test_an_agent_whose_clock_is_wrong_is_let_in(
    connect: Callable[..., ProvenConnection], server: TlsServer, offset: float
) -> None:
    door = connect(lambda: time.time() + offset)

    assert door.send("POST", "/agent/v1/heartbeat", json={}).status_code == 200
    assert abs(door.proofs.now - time.time()) < 3


def test_an_old_nonce_is_replaced(
    connect: Callable[..., ProvenConnection], server: TlsServer, authority: Authority
) -> None:
    door = connect()
    door.send("POST", "/agent/v1/heartbeat", json={})
    ahead = time.time() + 400
    server.clock = lambda: ahead

    assert door.send("POST", "/agent/v1/heartbeat", json={}).status_code == 200


def test_a_token_that_is_revoked_is_replaced(
    connect: Callable[..., ProvenConnection], authority: Authority
) -> None:
    door = connect()
    door.send("POST", "/agent/v1/heartbeat", json={})
    authority.revoked.add("token-1")

    assert door.send("POST", "/agent/v1/heartbeat", json={}).status_code == 200
    assert authority.tokens == ["token-1", "token-2"]


def test_a_token_is_renewed_before_it_ends(
    connect: Callable[..., ProvenConnection],
    authority: Authority,
    key: PrivateKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(proven, "time", SimpleNamespace(time=time.time, monotonic=lambda: now))
    authority.agent_tokens(key, lifetime=300)
    door = connect()

    door.send("POST", "/agent/v1/heartbeat", json={})
    now += 299 - proven.RENEW_BEFORE
    door.send("POST", "/agent/v1/heartbeat", json={})
    assert authority.tokens == ["token-1"]
    now += 1
    door.send("POST", "/agent/v1/heartbeat", json={})

    assert authority.tokens == ["token-1", "token-2"]


def test_threads_share_one_token(connect: Callable[..., ProvenConnection], authority: Authority) -> None:
    door = connect()

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: door.send("POST", "/agent/v1/heartbeat", json={}), range(24)))

    assert {answer.status_code for answer in found} == {200}
    assert authority.tokens == ["token-1"]


@pytest.mark.parametrize("registered", [True, False])
def test_an_identity_that_is_gone_is_told_so(
    connect: Callable[..., ProvenConnection], authority: Authority, registered: bool
) -> None:
    door = connect()
    if registered:
        door.send("POST", "/agent/v1/heartbeat", json={})
    authority.deleted = True

    with pytest.raises(IdentityGone, match="Register the agent anew"):
        door.send("POST", "/agent/v1/heartbeat", json={})


def test_a_refusal_for_another_reason_is_no_reason_to_wipe_anything(
    connect: Callable[..., ProvenConnection], authority: Authority
) -> None:
    authority.agent_tokens(PrivateKey.for_agent())
    door = connect()

    with pytest.raises(ApiError) as caught:
        door.send("POST", "/agent/v1/heartbeat", json={})

    assert caught.value.code == "invalid_client"


def test_a_refusal_that_no_new_token_helps_against_is_the_answer(
    connect: Callable[..., ProvenConnection], server: TlsServer
) -> None:
    server.on("POST", "/agent/v1/heartbeat", Answer(401, {"error": {"code": "invalid_token"}}))

    assert connect().send("POST", "/agent/v1/heartbeat", json={}).status_code == 401


def test_secrets_are_in_no_text_form(server: TlsServer, authority: Authority, key: PrivateKey) -> None:
    identity = AgentIdentity(server.url, server.ca_file, CLIENT, "", "", "", InMemory(key))

    assert "key" not in repr(identity)
