"""What programs sign in by: secrets of our making, and assertions signed with the key of a registered certificate.

Assertions are those of Azure's libraries (RFC 7523), which name the certificate by `x5t` or `x5t#S256`, sign with
RS256, PS256 or ES256, live ten minutes and write times with fractions.  Certificates that an assertion carries
(`x5c`) are ignored: only what is registered verifies.  Pure functions; called by the control plane.
"""

from __future__ import annotations

import base64
import hmac
import math
import secrets
import string
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from wherry.trust import signed
from wherry.trust.keys import MIN_RSA_BITS, KeyTrouble, PublicKey
from wherry.trust.proofs import ASSERTION, SKEW
from wherry.trust.signed import Form, Untrusted

FORM = Form(
    frozenset({"alg", "typ", "kid", "x5t", "x5t#S256", "x5c"}), ("RS256", "PS256", "ES256"), 12 * 1024
)
LONGEST_LIFE = 600
HINT = 3
_LETTERS = string.ascii_letters + string.digits
_LENGTH = 43
_MAX_JTI = 128


@dataclass(frozen=True, slots=True)
class Certificate:
    """A registered certificate: its public key, and the names that assertions call it by."""

    pem: str = field(repr=False)
    key: PublicKey
    sha1: str
    sha256: str
    starts_at: float
    ends_at: float

    @classmethod
    def read(cls, content: bytes) -> Certificate:
        """The first certificate in a PEM or DER document; `KeyTrouble` for none, and for keys that are too weak."""
        try:
            if b"-----BEGIN" in content:
                found = x509.load_pem_x509_certificates(content)[0]
            else:
                found = x509.load_der_x509_certificate(content)
            key = _public(found)
        except (ValueError, JoseError) as broken:
            raise KeyTrouble("This is no X.509 certificate, in PEM or DER.") from broken
        return cls(
            found.public_bytes(serialization.Encoding.PEM).decode(),
            key,
            found.fingerprint(hashes.SHA1()).hex(),  # noqa: S303 - a name that clients use, no protection
            found.fingerprint(hashes.SHA256()).hex(),
            found.not_valid_before_utc.timestamp(),
            found.not_valid_after_utc.timestamp(),
        )


@dataclass(frozen=True, slots=True)
class Assertion:
    """A verified assertion; (`client_id`, `jti`) must be remembered until `expires_at`."""

    client_id: str
    jti: str
    expires_at: float


def new_secret() -> str:
    """A secret of 256 random bits, letters and digits only: it needs no quotes anywhere."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def is_of_agent(assertion: str) -> bool:
    """Whether an assertion is one that our agents make; they prove themselves another way."""
    try:
        return signed.peek_header(assertion, FORM).get("typ") == ASSERTION
    except Untrusted:
        return False


def claimed_client(assertion: str) -> str:
    """The client id that an assertion claims, unverified: to look its certificates up by."""
    signed.peek_header(assertion, FORM)
    return signed.text_claim(signed.peek_claims(assertion, FORM), "sub")


def names(certificate: Certificate, assertion: str) -> bool:
    """Whether an assertion says that it is signed with the key of `certificate`."""
    header = signed.peek_header(assertion, FORM)
    told = [(header.get("x5t#S256"), certificate.sha256), (header.get("x5t"), certificate.sha1)]
    named = [(_hexadecimal(one), known) for one, known in told if one is not None]
    return bool(named) and all(hmac.compare_digest(one, known) for one, known in named)


def verify_assertion(
    assertion: str, certificate: Certificate, client_id: str, audiences: Collection[str], now: float
) -> Assertion:
    """The assertion of `client_id`, signed with the key of `certificate` for one of `audiences`, or `Untrusted`."""
    _, claims = signed.read(assertion, "JWT", lambda _: certificate.key, FORM)
    if signed.text_claim(claims, "iss") != client_id or signed.text_claim(claims, "sub") != client_id:
        raise Untrusted("iss and sub are not the client")
    if signed.text_claim(claims, "aud") not in audiences:
        raise Untrusted("aud is not the token endpoint")
    time = _time_of(claims)
    ends = time("exp")
    begins = [time(name) for name in ("iat", "nbf") if name in claims]
    if now >= ends + SKEW or any(now < one - SKEW for one in begins):
        raise Untrusted("the assertion is not of now: check this machine's clock")
    if ends > now + LONGEST_LIFE + SKEW:
        raise Untrusted(f"the assertion lives longer than {LONGEST_LIFE} seconds")
    jti = signed.text_claim(claims, "jti")
    if len(jti) > _MAX_JTI:
        raise Untrusted("jti is too long")
    return Assertion(client_id, jti, ends + SKEW)


def _time_of(claims: signed.Claims) -> Callable[[str], float]:
    def read(name: str) -> float:
        value = claims.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not _is_time(value):
            raise Untrusted(f"{name} is missing or not a time")
        return float(value)

    return read


def _is_time(value: float) -> bool:
    return math.isfinite(value) and 0 <= value < signed.MAX_TIME


def _public(certificate: x509.Certificate) -> PublicKey:
    key = certificate.public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return PublicKey(RSAKey.import_key(pem))
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return PublicKey(ECKey.import_key(pem))
    raise KeyTrouble(f"The certificate's key must be EC P-256, or RSA of at least {MIN_RSA_BITS} bits.")


def _hexadecimal(told: object) -> str:
    """A thumbprint as it stands in a header; with padding or without, as clients differ."""
    if not isinstance(told, str):
        return ""
    text = told.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).hex()
    except ValueError:
        return ""
