"""Proofs of possession: honest ones hold, everything else is refused for the right reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.trust import proofs, signed
from wherry.trust.keys import PrivateKey
from wherry.trust.proofs import NonceNeeded, Nonces, Proof, Seen
from wherry.trust.signed import Untrusted

NOW = 1_800_000_000.0
URL = "https://plane.example:8443/agent/v1/heartbeat"
NONCES = Nonces(b"n" * 32)
ISSUER = "https://plane.example:8443/tid/v2.0"
KEY = PrivateKey.for_agent()
OTHER = PrivateKey.for_agent()


def made(key: PrivateKey = KEY, method: str = "POST", url: str = URL, now: float = NOW, **more) -> str:
    return proofs.make_dpop(
        key, method, url, now=now, **{"nonce": NONCES.issue(NOW), "access_token": "token", **more}
    )


def checked(proof: str, **more) -> Proof:
    wanted = {"method": "POST", "urls": [URL], "now": NOW, "nonces": NONCES, "access_token": "token"}
    return proofs.verify_dpop(proof, **{**wanted, "jkt": KEY.thumbprint, **more})


def rewritten(key: PrivateKey = KEY, header: dict | None = None, typ: str = proofs.DPOP, **changes) -> str:
    claims = signed.peek_claims(made()) | changes
    claims = {name: value for name, value in claims.items() if value is not ...}
    return signed.write(claims, key, typ, header or {"jwk": key.public.jwk()})


def test_an_honest_proof_holds():
    proof = checked(made())
    assert proof.jkt == KEY.thumbprint
    assert proof.key.thumbprint == KEY.thumbprint
    assert proof.expires_at >= NOW + proofs.NONCE_SECONDS


@pytest.mark.parametrize(
    "meant",
    ["https://PLANE.example:8443/agent/v1/heartbeat", URL + "?a=b", URL + "#x"],
)
def test_addresses_are_compared_without_query_and_case_of_the_host(meant):
    assert checked(made(url=meant)).jkt == KEY.thumbprint


def test_the_default_port_may_be_named_or_not():
    assert proofs.canonical("https://a:443/x") == proofs.canonical("HTTPS://A/x")
    assert proofs.canonical("https://a") == "https://a/"
    assert proofs.canonical("https://a/X") != proofs.canonical("https://a/x")


@pytest.mark.parametrize(
    ("proof", "why"),
    [
        (made(OTHER), "another key"),
        (made(method="GET"), "another method"),
        (made(url="https://evil.example/agent/v1/heartbeat"), "another address"),
        (made(url=URL + "/x"), "another address"),
        (rewritten(htu="https://["), "not an address"),
        (rewritten(htm="\ud800"), "not JSON"),
        (made(access_token="other"), "another token"),
        (made(access_token=None), "ath"),
        (rewritten(typ="JWT"), "typ"),
        (rewritten(jti=...), "jti"),
        (rewritten(jti="j" * 129), "jti"),
        (rewritten(jti=7), "jti"),
        (rewritten(iat=str(NOW)), "iat"),
        (rewritten(iat=int(NOW - 25 * 3600)), "too old"),
        (rewritten(header={"kid": KEY.thumbprint}), "holds no key"),
        (rewritten(key=OTHER, header={"jwk": KEY.public.jwk()}), "signature"),
        (rewritten(header={"jwk": {**KEY.public.jwk(), "d": "AA"}}), "public"),
        (rewritten(header={"jwk": {"kty": "oct", "k": "AA"}}), "public"),
        (rewritten(header={"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}), "cannot be read"),
        (rewritten(header={"jwk": {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}}), "EC P-256 or RSA"),
        ("a.b.c", "base64url|JSON|header"),
    ],
)
def test_what_is_wrong_with_a_proof_is_said(proof, why):
    with pytest.raises(Untrusted, match=why) as refused:
        checked(proof)
    assert not isinstance(refused.value, NonceNeeded)


@pytest.mark.parametrize(
    "nonce",
    [
        None,
        "",
        "x",
        "é",
        Nonces(b"m" * 32).issue(NOW),
        Nonces(b"n" * 32).issue(NOW + 10),
        Nonces(b"n" * 32).issue(NOW - 301),
    ],
)
def test_without_a_fresh_nonce_of_ours_another_try_is_asked_for(nonce):
    with pytest.raises(NonceNeeded):
        checked(made(nonce=nonce))


def test_a_nonce_makes_up_for_a_clock_that_is_off():
    assert checked(made(now=NOW - 23 * 3600)).jkt == KEY.thumbprint
    assert checked(made(now=NOW + 23 * 3600)).jkt == KEY.thumbprint


def test_without_nonce_a_minute_is_allowed_where_nonces_are_not_required():
    assert checked(made(nonce=None, now=NOW - 59), nonce_required=False).jkt == KEY.thumbprint
    with pytest.raises(NonceNeeded):
        checked(made(nonce=None, now=NOW - 61), nonce_required=False)


def test_any_of_several_names_of_the_service_will_do():
    assert checked(made(), urls=["https://localhost:8443/agent/v1/heartbeat", URL]).jkt == KEY.thumbprint


def test_a_token_of_rsa_keys_works_too():
    key = PrivateKey.for_service()
    assert checked(made(key), jkt=key.thumbprint).jkt == key.thumbprint


def test_a_proof_counts_once():
    seen, proof = Seen(), checked(made())
    assert seen.first_time(proof, NOW)
    assert not seen.first_time(proof, NOW + 1)
    assert seen.first_time(checked(made()), NOW)


def test_what_can_not_be_sent_again_is_forgotten_and_nothing_else():
    seen = Seen()
    old, lasting = Proof("k", "a", NOW + 10, KEY.public), Proof("k", "b", NOW + 900, KEY.public)
    assert seen.first_time(old, NOW)
    assert seen.first_time(lasting, NOW)
    assert not seen.first_time(lasting, NOW + 300)
    assert seen.first_time(old, NOW + 400)


@given(st.integers(0, 2**40), st.integers(0, 400))
def test_nonces_last_five_minutes(made_at, later):
    nonces = Nonces()
    assert nonces.good(nonces.issue(made_at), made_at + later) is (later <= proofs.NONCE_SECONDS)


def test_attack_42_a_clock_that_is_set_back_lets_nothing_in_again():
    seen, nonces, hour = Seen(), Nonces(), 3600.0
    proof, nonce = checked(made()), nonces.issue(NOW)
    assert seen.first_time(proof, NOW)
    nonces.issue(NOW + hour)
    assert seen.first_time(checked(made()), NOW + hour)
    assert not nonces.good(nonce, NOW)
    late, again = nonces.issue(NOW), checked(made())
    assert seen.first_time(again, NOW)
    assert nonces.good(late, NOW + 300)
    assert not seen.first_time(again, NOW + 300)


@given(st.text(max_size=60))
def test_no_text_is_a_nonce(text):
    assert not NONCES.good(text, NOW)


def assertion(key: PrivateKey = KEY, client: str = "client", issuer: str = ISSUER, now: float = NOW) -> str:
    return proofs.make_assertion(key, client, issuer, now=now)


def admitted(value: str, now: float = NOW) -> Proof:
    return proofs.verify_assertion(value, KEY.public, "client", ISSUER, now=now)


def forged(**changes) -> str:
    claims = {**signed.peek_claims(assertion()), **changes}
    claims = {name: value for name, value in claims.items() if value is not ...}
    return signed.write(claims, KEY, proofs.ASSERTION, {"kid": KEY.thumbprint})


def test_an_honest_assertion_holds_and_is_to_be_remembered_as_long_as_it_could_be_sent():
    value = assertion()
    assert proofs.claimed_client(value) == ("client", KEY.thumbprint)
    proof = admitted(value, NOW + 100)
    with pytest.raises(Untrusted):
        admitted(value, proof.expires_at)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (assertion(OTHER), "signature"),
        (assertion(client="other"), "not the client"),
        (forged(sub="other"), "not the client"),
        (assertion(issuer=ISSUER.replace("/v2.0", "/oauth2/v2.0/token")), "aud"),
        (assertion(issuer="https://evil.example"), "aud"),
        (forged(aud=[ISSUER]), "aud"),
        (forged(exp=int(NOW) + 61), "too long"),
        (forged(exp=int(NOW) - 1), "too long"),
        (forged(exp=...), "exp"),
        (forged(iat=...), "iat"),
        (forged(jti=...), "jti"),
        (assertion(now=NOW + 61), "not of now"),
        (assertion(now=NOW - 121), "not of now"),
        (signed.write(signed.peek_claims(assertion()), KEY, "at+jwt", {"kid": KEY.thumbprint}), "typ"),
        (signed.write(signed.peek_claims(assertion()), KEY, proofs.ASSERTION, {"kid": "x"}), "kid"),
    ],
)
def test_what_is_wrong_with_an_assertion_is_said(value, why):
    with pytest.raises(Untrusted, match=why):
        admitted(value)


@pytest.mark.parametrize("value", ["", "a.b.c", forged(sub=...), forged(sub=5), forged(sub="\ud800")])
def test_an_assertion_that_names_nobody(value):
    with pytest.raises(Untrusted):
        proofs.claimed_client(value)
