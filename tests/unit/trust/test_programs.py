"""Certificates and assertions of programs: what verifies, and everything that does not."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from wherry.trust import programs, proofs
from wherry.trust.keys import KeyTrouble, PrivateKey
from wherry.trust.programs import Certificate
from wherry.trust.signed import Untrusted

NOW = 1_800_000_000.0
CLIENT = "11111111-2222-4333-8444-555555555555"
ENDPOINT = "https://plane.example/tenant/oauth2/v2.0/token"


def certified(key: Any) -> Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "program")])
    now = datetime.fromtimestamp(NOW, UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    return Certificate.read(made.public_bytes(serialization.Encoding.DER))


def pem(key: Any) -> bytes:
    return bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CERTIFICATES = {"ES256": certified(ELLIPTIC), "RS256": certified(RSA)}
CERTIFICATES["PS256"] = CERTIFICATES["RS256"]
KEYS: dict[str, ECKey | RSAKey] = {
    "ES256": ECKey.import_key(pem(ELLIPTIC)),
    "RS256": RSAKey.import_key(pem(RSA)),
}
KEYS["PS256"] = KEYS["RS256"]


def encoded(hexadecimal: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(hexadecimal)).decode()


def assertion(alg: str = "ES256", header: dict[str, Any] | None = None, **changed: Any) -> str:
    claims = {
        "iss": CLIENT,
        "sub": CLIENT,
        "aud": ENDPOINT,
        "iat": NOW + 0.25,
        "exp": NOW + 600.25,
        "jti": "one",
    }
    claims = {name: value for name, value in {**claims, **changed}.items() if value is not None}
    told = {"alg": alg, "typ": "JWT", "x5t#S256": encoded(CERTIFICATES[alg].sha256), **(header or {})}
    registry = jws.JWSRegistry(algorithms=[alg])
    registry.strict_check_header = False
    return str(jws.serialize_compact(told, json.dumps(claims).encode(), KEYS[alg], registry=registry))


def signed(header: dict[str, Any]) -> str:
    """An assertion with any header at all and a signature that holds."""
    known = {"alg": "ES256", "typ": "JWT", "x5t#S256": encoded(CERTIFICATES["ES256"].sha256)}
    head = base64.urlsafe_b64encode(json.dumps({**known, **header}).encode()).decode().rstrip("=")
    text = f"{head}.{assertion().split('.')[1]}"
    r, s = decode_dss_signature(ELLIPTIC.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    raw = r.to_bytes(32) + s.to_bytes(32)
    return f"{text}.{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"


def verify(told: str, alg: str = "ES256", now: float = NOW) -> programs.Assertion:
    certificate = CERTIFICATES[alg]
    assert programs.claimed_client(told)
    if not programs.names(certificate, told):
        raise Untrusted("another certificate")
    return programs.verify_assertion(told, certificate, CLIENT, {ENDPOINT}, now)


@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256"])
def test_what_azures_libraries_sign_verifies(alg: str) -> None:
    verified = verify(assertion(alg), alg)
    assert (verified.client_id, verified.jti, verified.expires_at) == (CLIENT, "one", NOW + 660.25)
    by_sha1 = {
        "x5t": encoded(CERTIFICATES[alg].sha1),
        "x5t#S256": encoded(CERTIFICATES[alg].sha256).rstrip("="),
    }
    assert verify(assertion(alg, by_sha1), alg).jti == "one"
    assert verify(assertion(alg, {"x5c": ["not looked at"]}), alg).jti == "one"
    assert verify(assertion(alg, iat=None), alg).jti == "one"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "another"}, {"sub": "another"}, {"aud": "https://evil.example/token"}, {"aud": [ENDPOINT]},
        {"aud": ENDPOINT + "/"}, {"exp": None}, {"exp": NOW - 61}, {"exp": NOW + 661}, {"exp": "1900000000"},
        {"exp": 1e300}, {"exp": True}, {"iat": NOW + 61}, {"nbf": NOW + 61}, {"iat": "now"}, {"jti": None}, {"jti": ""},
        {"jti": "x" * 129},
    ],
)  # fmt: skip
def test_claims_that_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Untrusted):
        verify(assertion(**changed))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "at+jwt"}, {"typ": None}, {"crit": ["x"], "x": 1}, {"jku": "https://evil.example"},
        {"x5u": "https://evil.example"}, {"x5t#S256": "AAAA"}, {"x5t#S256": 7}, {"x5t": "!"},
        {"x5t": encoded("00" * 20)}, {"kid": 7},
    ],
)  # fmt: skip
def test_headers_that_are_refused(header: dict[str, Any]) -> None:
    with pytest.raises(Untrusted):
        verify(signed(header))


def test_a_header_as_it_should_be_is_not_refused() -> None:
    assert verify(signed({"kid": "any"})).jti == "one"


def test_a_signature_by_another_key_and_another_algorithm_are_refused() -> None:
    head, body, _ = assertion("RS256").split(".")
    with pytest.raises(Untrusted, match="does not hold"):
        verify(f"{head}.{body}.{assertion('RS256', jti='two').split('.')[2]}", "RS256")
    told = {"x5t#S256": encoded(CERTIFICATES["ES256"].sha256)}
    with pytest.raises(Untrusted, match="algorithm"):
        verify(assertion("RS256", told))
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    with pytest.raises(Untrusted):
        verify(f"{none}.{body}.")


def test_an_assertion_of_an_agent_is_told_from_one_of_a_program() -> None:
    agents = proofs.make_assertion(PrivateKey.for_agent(), CLIENT, "https://plane.example", now=NOW)
    assert programs.is_of_agent(agents)
    assert not programs.is_of_agent(assertion())
    assert not programs.is_of_agent("nothing")


def test_certificates_that_cannot_be_used() -> None:
    with pytest.raises(KeyTrouble, match="This is no"):
        Certificate.read(b"-----BEGIN CERTIFICATE-----\nx")
    with pytest.raises(KeyTrouble, match="P-256"):
        certified(ec.generate_private_key(ec.SECP384R1()))


def test_a_secret_has_256_bits_and_needs_no_quotes() -> None:
    made = {programs.new_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(len(one) == 43 and one.isalnum() for one in made)
