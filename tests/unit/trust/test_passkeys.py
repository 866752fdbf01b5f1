"""Passkeys: what a browser sends proves them, and nothing else does."""

from __future__ import annotations

import json

import pytest

from tests.authenticator import Authenticator
from wherry.trust.passkeys import Asked, Credential, NotProven, Party

ORIGIN = "https://plane.example"
PARTY = Party("plane.example", ORIGIN)


def made(key: Authenticator, party: Party = PARTY) -> Credential:
    asked = party.ask_new("an-oid", "admin", "Administrator", [])
    return party.made(asked.challenge, key.create(asked.options))


def test_a_passkey_is_made_and_proves_itself() -> None:
    key = Authenticator(ORIGIN, counter=4)
    known = made(key)
    asked = PARTY.ask([known])
    assert json.loads(asked.options)["allowCredentials"][0]["id"] == known.id
    proven = PARTY.proven(asked.challenge, [made(Authenticator(ORIGIN)), known], key.get(asked.options))
    assert (proven.id, proven.counter) == (known.id, 5)


def test_a_passkey_without_a_counter_goes_on_without() -> None:
    key = Authenticator(ORIGIN)
    known = made(key)
    asked = PARTY.ask([known])
    assert PARTY.proven(asked.challenge, [known], key.get(asked.options)).counter == 0


def test_a_counter_that_goes_back_is_a_copy() -> None:
    key = Authenticator(ORIGIN, counter=9)
    known = made(key)
    key.counter = 8
    asked = PARTY.ask([known])
    with pytest.raises(NotProven, match="copy"):
        PARTY.proven(asked.challenge, [known], key.get(asked.options))


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://plane.example", ORIGIN + ":8443", ORIGIN + ".evil.example"]
)
def test_other_origins_make_and_prove_nothing(origin: str) -> None:
    with pytest.raises(NotProven, match="origin"):
        made(Authenticator(origin))
    key = Authenticator(ORIGIN)
    known = made(key)
    key.origin = origin
    asked = PARTY.ask([known])
    with pytest.raises(NotProven, match="origin"):
        PARTY.proven(asked.challenge, [known], key.get(asked.options))


def test_other_challenges_hosts_and_keys_prove_nothing() -> None:
    key, other = Authenticator(ORIGIN), Authenticator(ORIGIN)
    known = made(key)
    asked, stale = PARTY.ask([known]), PARTY.ask([known])
    with pytest.raises(NotProven, match="challenge"):
        PARTY.proven(asked.challenge, [known], key.get(stale.options))
    with pytest.raises(NotProven, match="RP ID"):
        PARTY.proven(asked.challenge, [known], key.get(asked.options, rpId="evil.example"))
    with pytest.raises(NotProven, match="Unknown credential"):
        PARTY.proven(asked.challenge, [known], other.get(asked.options))
    other.id = key.id
    with pytest.raises(NotProven, match="signature"):
        PARTY.proven(asked.challenge, [known], other.get(asked.options))
    with pytest.raises(NotProven):
        PARTY.made(asked.challenge, key.get(asked.options))


def answers(asked: Asked) -> list[str]:
    """What a stranger may send in place of an answer."""
    sound = json.loads(Authenticator(ORIGIN).create(asked.options))
    response = sound["response"]
    broken = [
        {**response, name: value} for name in response for value in ("", "AA", "oQ", "_" * 40, 7, None, "v78")
    ]
    return [
        "", "[]", "null", "{}", "7", '{"id": 3}', "[" * 100_000, "x" * 20_000, '{"id": "AA", "rawId": "AA"}',
        *(json.dumps({**sound, "response": one}) for one in broken), json.dumps({**sound, "rawId": "AAAA"}),
    ]  # fmt: skip


def test_nonsense_is_refused_in_order() -> None:
    asked = PARTY.ask_new("an-oid", "admin", "Administrator", [])
    known = made(Authenticator(ORIGIN))
    for answer in answers(asked):
        with pytest.raises(NotProven):
            PARTY.made(asked.challenge, answer)
        with pytest.raises(NotProven):
            PARTY.proven(asked.challenge, [known], answer)
    with pytest.raises(NotProven):
        PARTY.made("", Authenticator(ORIGIN).create(asked.options))


@pytest.mark.parametrize(
    ("host", "usable"),
    [("plane.example", True), ("localhost", True), ("127.0.0.1", False), ("::1", False), ("", False)],
)
def test_browsers_make_passkeys_for_names(host: str, usable: bool) -> None:
    assert Party(host, f"https://{host}").usable is usable
