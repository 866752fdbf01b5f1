"""Keys, their thumbprints, and what is sealed with the master key."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from wherry.trust.keys import KeyTrouble, MasterKey, PrivateKey, PublicKey

MASTER = MasterKey(b"m" * 32)


def pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_the_thumbprint_is_the_one_of_rfc_7638():
    example = {
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE"
        "CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2Q"
        "vzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6"
        "WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    }  # fmt: skip
    assert PublicKey.from_jwk(example).thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("make", [PrivateKey.for_agent, PrivateKey.for_service])
def test_a_key_survives_its_file(make):
    key = make()
    again = PrivateKey.from_pem(key.pem())
    assert again.thumbprint == key.thumbprint == key.public.thumbprint
    assert PublicKey.from_jwk(key.public.jwk()).thumbprint == key.thumbprint
    assert "d" not in key.public.jwk()
    assert key.pem().decode().splitlines()[1] not in repr(key)


def test_kinds_of_key():
    assert PrivateKey.for_agent().algorithm == "ES256"
    assert PrivateKey.for_service().algorithm == PrivateKey.for_service().public.algorithm == "RS256"


@pytest.mark.parametrize(
    "content",
    [b"", b"no key", pem(ed25519.Ed25519PrivateKey.generate()), pem(ec.generate_private_key(ec.SECP384R1())),
     pem(rsa.generate_private_key(65537, 1024))],
)  # fmt: skip
def test_other_private_keys_are_refused(content):
    with pytest.raises(KeyTrouble):
        PrivateKey.from_pem(content)


@pytest.mark.parametrize(
    "jwk", [{}, {"kty": "EC"}, {"kty": "EC", "crv": "P-256", "x": 1}, {"kty": "oct", "k": "AA"},
            {"kty": "RSA", "n": "gQ" * 86, "e": "AQAB"}, {"kty": "RSA", "n": "é", "e": "AQAB"}],
)  # fmt: skip
def test_other_public_keys_are_refused(jwk):
    with pytest.raises(KeyTrouble):
        PublicKey.from_jwk(jwk)


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_is_sealed_opens_with_its_key_and_context_only(plain, context):
    sealed = MASTER.seal(plain, context)
    assert MASTER.unseal(sealed, context) == plain
    assert len(plain) < 8 or plain not in sealed
    with pytest.raises(KeyTrouble):
        MASTER.unseal(sealed, context + "x")
    with pytest.raises(KeyTrouble, match="another master key"):
        MasterKey(b"n" * 32).unseal(sealed, context)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_change_is_noticed(place, change):
    sealed = bytearray(MASTER.seal(b"secret", "here"))
    sealed[place % len(sealed)] ^= change
    with pytest.raises(KeyTrouble):
        MASTER.unseal(bytes(sealed), "here")


@given(st.binary(max_size=40))
def test_no_garbage_opens(garbage):
    with pytest.raises(KeyTrouble):
        MASTER.unseal(garbage, "")


def test_the_master_key_survives_its_file_and_damage_is_told():
    key = MasterKey.generate()
    assert MasterKey.from_text(key.text()) == key
    assert key.text().strip() not in repr(key)
    for damaged in ("", "zz" * 32, key.text()[:-3]):
        with pytest.raises(KeyTrouble, match="damaged"):
            MasterKey.from_text(damaged)


def test_purposes_have_keys_of_their_own():
    assert len({MASTER.derive("a"), MASTER.derive("b"), MASTER.secret}) == 3
    assert MASTER.derive("a") == MasterKey(b"m" * 32).derive("a")
