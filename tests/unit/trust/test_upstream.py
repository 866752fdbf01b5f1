"""Id tokens of another provider: one thing wrong is enough; and what is believed of its own description."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from wherry.trust import signed, upstream
from wherry.trust.keys import PrivateKey
from wherry.trust.signed import Untrusted
from wherry.trust.upstream import Expected, Metadata

NOW = 1_800_000_000
ISSUER = "https://idp.example/realms/one"
EXPECTED = Expected(ISSUER, "wherry", "the-nonce", 600.0)
KEY = PrivateKey.for_agent()
OTHER = PrivateKey.for_agent()
KEYS = upstream.read_keys({"keys": [{**KEY.public.jwk(), "kid": "k1", "use": "sig"}]})
GOOD = {
    "iss": ISSUER, "aud": "wherry", "sub": "u-1", "nonce": "the-nonce", "iat": NOW, "exp": NOW + 300,
    "auth_time": NOW - 5, "preferred_username": "alice", "name": "Alice", "groups": ["staff"], "amr": ["pwd", "otp"],
}  # fmt: skip


def token(key=KEY, typ="JWT", header=None, **changes):
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return signed.write(claims, key, typ, {"kid": "k1", **(header or {})})


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def test_a_person_is_what_the_token_says():
    person = upstream.verify_id_token(token(), KEYS, EXPECTED, NOW)
    assert (person.issuer, person.subject, person.login, person.name) == (ISSUER, "u-1", "alice", "Alice")
    assert (sorted(person.groups), sorted(person.methods)) == (["staff"], ["otp", "pwd"])
    assert upstream.verify_id_token(token(aud=["wherry"]), KEYS, EXPECTED, NOW).subject == "u-1"
    odd = upstream.verify_id_token(token(groups="one", amr=7, name="\x1b[2J", acr=["x"]), KEYS, EXPECTED, NOW)
    assert (sorted(odd.groups), sorted(odd.methods), odd.name, odd.context) == (["one"], [], "", "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iss": "https://idp.example/realms/two"}, "another issuer"),
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"aud": "another"}, "another audience"),
        ({"aud": ["wherry", "another"]}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"azp": "another"}, "another client"),
        ({"nonce": "of-another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"exp": NOW - 61}, "expired"),
        ({"exp": None}, "exp is missing"),
        ({"exp": str(NOW + 300)}, "exp is missing"),
        ({"iat": NOW + 61}, "not valid yet"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"auth_time": NOW - 700}, "too long ago"),
        ({"auth_time": None}, "auth_time is missing"),
        ({"auth_time": NOW + 100}, "too long ago"),
        ({"sub": ""}, "sub is missing"),
        ({"sub": "x" * 300}, "sub is malformed"),
        ({"sub": "a\nb"}, "sub is malformed"),
        ({"key": OTHER}, "signature does not hold"),
        ({"typ": "at+jwt"}, "typ is not JWT"),
        ({"header": {"kid": "k2"}}, "unknown key"),
        ({"header": {"jku": "https://evil.example/keys"}}, "header not allowed"),
        ({"header": {"jwk": OTHER.public.jwk()}}, "header not allowed"),
    ],
)
def test_one_wrong_thing_is_enough(change, why):
    with pytest.raises(Untrusted, match=why):
        upstream.verify_id_token(token(**change), KEYS, EXPECTED, NOW)


def test_clocks_may_differ_a_little():
    for moved in (NOW - 55, NOW + 355):
        upstream.verify_id_token(
            token(auth_time=None), KEYS, Expected(ISSUER, "wherry", "the-nonce", None), moved
        )


def test_algorithms_without_a_key_pair_are_none():
    head, body = {"alg": "none", "kid": "k1"}, json.dumps(GOOD).encode()
    plain = f"{base64url(json.dumps(head).encode())}.{base64url(body)}."
    head["alg"] = "HS256"
    first = f"{base64url(json.dumps(head).encode())}.{base64url(body)}"
    public = json.dumps(KEY.public.jwk()).encode()
    keyed = f"{first}.{base64url(hmac.digest(public, first.encode(), hashlib.sha256))}"
    for forged in (plain, keyed, "", "a.b", "a.b.c", "x" * 20_000):
        with pytest.raises(Untrusted):
            upstream.verify_id_token(forged, KEYS, EXPECTED, NOW)


def test_a_key_without_a_name_is_taken_when_there_is_one_of_its_kind():
    bare = upstream.read_keys(
        {"keys": [KEY.public.jwk(), {**OTHER.public.jwk(), "use": "enc"}, {"kty": "oct"}, 7]}
    )
    unnamed = signed.write(GOOD, KEY, "JWT", {})
    assert upstream.verify_id_token(unnamed, bare, EXPECTED, NOW).subject == "u-1"
    two = upstream.read_keys({"keys": [KEY.public.jwk(), OTHER.public.jwk()]})
    with pytest.raises(Untrusted, match="unknown key"):
        upstream.verify_id_token(unnamed, two, EXPECTED, NOW)
    with pytest.raises(Untrusted, match="malformed"):
        upstream.read_keys({"keys": [{}] * 51})


DOCUMENT = {
    "issuer": ISSUER, "authorization_endpoint": "https://idp.example/auth", "jwks_uri": "https://idp.example/keys",
    "token_endpoint": "https://idp.example/token",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "http://idp.example/token"},
        {"token_endpoint": "https://user@idp.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://idp.example/#x"},
        {"token_endpoint": "https://idp.example:99999/"},
        {"jwks_uri": None},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_a_description_that_leads_astray_is_refused(change):
    assert Metadata.read(DOCUMENT, ISSUER).token_endpoint == "https://idp.example/token"
    with pytest.raises(Untrusted):
        Metadata.read({**DOCUMENT, **change}, ISSUER)


def test_what_belongs_to_a_state_is_known_to_us_alone():
    state = upstream.new_state()
    assert upstream.derived(b"k" * 32, state) == upstream.derived(b"k" * 32, state)
    assert upstream.derived(b"k" * 32, state) != upstream.derived(b"l" * 32, state)
    verifier = upstream.derived(b"k" * 32, state)
    assert len(verifier) == 43
    assert upstream.challenge(verifier) == base64url(hashlib.sha256(verifier.encode()).digest())
