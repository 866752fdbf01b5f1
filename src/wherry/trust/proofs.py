"""Proofs of possession: DPoP (RFC 9449) and client assertions (RFC 7523), made by agents, verified by the service.

Pure functions of keys, texts and the time.  Verifying ends with what the caller must remember: (`jkt`, `jti`) until
`expires_at`, so that nothing counts twice.  Assertions are remembered in the database.  DPoP proofs need a nonce,
and a process takes only nonces of its own making (`Nonces.key` is drawn at start): so `Seen`, which is memory of
one process, is enough for them, after a restart and beside other replicas too.  With a nonce a proof's clock may be
off by a day; without one, a minute.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from wherry.trust import signed
from wherry.trust.keys import KeyTrouble, PrivateKey, PublicKey
from wherry.trust.signed import Untrusted

DPOP = "dpop+jwt"
ASSERTION = "client-authentication+jwt"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

SKEW = 60
SKEW_WITH_NONCE = 24 * 3600
NONCE_SECONDS = 300
ASSERTION_SECONDS = 60
_MAX_JTI = 128


class NonceNeeded(Untrusted):
    """The proof needs a nonce of the service, or a fresher one: try again with the one in the answer."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified proof; (`jkt`, `jti`) must be new until `expires_at`."""

    jkt: str
    jti: str
    expires_at: float
    key: PublicKey
    issued_at: int = 0


class Forward:
    """The time as far as it has ever been: a clock that is set back opens no window for what was seen before."""

    def __init__(self) -> None:
        self._latest = 0.0

    def __call__(self, now: float) -> float:
        self._latest = max(self._latest, now)
        return self._latest


@dataclass(frozen=True, slots=True, repr=False)
class Nonces:
    """Nonces without memory: the time they were made, authenticated with a key that only this process has."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _forward: Forward = field(default_factory=Forward)

    def issue(self, now: float) -> str:
        """A nonce that is good for five minutes."""
        stamp = int(self._forward(now)).to_bytes(8, "big")
        return _b64(stamp + self._tag(stamp))

    def good(self, nonce: str, now: float) -> bool:
        """Whether `nonce` was issued here and lately."""
        try:
            raw = base64.b64decode(nonce + "=" * (-len(nonce) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return False
        stamp, tag = raw[:8], raw[8:]
        if len(stamp) != 8 or not hmac.compare_digest(tag, self._tag(stamp)):
            return False
        made = int.from_bytes(stamp, "big")
        return -1 <= self._forward(now) - made <= NONCE_SECONDS

    def _tag(self, stamp: bytes) -> bytes:
        return hmac.digest(self.key, stamp, "sha256")[:16]


class Seen:
    """The proofs that this process has accepted and that could still be sent again.  Safe from several threads."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}
        self._forward = Forward()
        self._swept = 0.0
        self._lock = threading.Lock()

    def first_time(self, proof: Proof, now: float) -> bool:
        """Remember `proof`; False when it is there already."""
        with self._lock:
            now = self._forward(now)
            if now - self._swept > NONCE_SECONDS:
                self._until = {which: until for which, until in self._until.items() if until >= now}
                self._swept = now
            which = (proof.jkt, proof.jti)
            fresh = which not in self._until
            # The nonce in it is no older than now, and good for so long.
            self._until[which] = now + NONCE_SECONDS + SKEW
            return fresh


def make_dpop(
    key: PrivateKey,
    method: str,
    url: str,
    *,
    now: float,
    nonce: str | None = None,
    access_token: str | None = None,
) -> str:
    """A proof for one request, the value of its `DPoP` header; `access_token` when the request carries one."""
    claims: dict[str, object] = {
        "htm": method.upper(),
        "htu": canonical(url),
        "iat": int(now),
        "jti": secrets.token_urlsafe(16),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        claims["ath"] = _digest(access_token)
    return signed.write(claims, key, DPOP, {"jwk": key.public.jwk()})


def verify_dpop(
    proof: str,
    *,
    method: str,
    urls: Collection[str],
    now: float,
    nonces: Nonces,
    access_token: str | None = None,
    jkt: str | None = None,
    nonce_required: bool = True,
) -> Proof:
    """The verified proof of a request to one of `urls` (the names that the service goes by).

    Raises `NonceNeeded`, or `Untrusted`.  `jkt` is the thumbprint that the key must have, where it is known.
    """
    header, claims = signed.read(proof, DPOP, _embedded_key)
    key = PublicKey.from_jwk(header["jwk"])
    if signed.text_claim(claims, "htm") != method.upper():
        raise Untrusted("the proof is for another method")
    if _address(claims) not in {canonical(url) for url in urls}:
        raise Untrusted("the proof is for another address")
    if access_token is not None and not _same(signed.text_claim(claims, "ath"), _digest(access_token)):
        raise Untrusted("the proof is for another token")
    if jkt is not None and not _same(key.thumbprint, jkt):
        raise Untrusted("the proof is by another key")
    issued = signed.time_claim(claims, "iat")
    slack = _slack(claims, now, nonces, nonce_required=nonce_required)
    if abs(now - issued) > slack:
        raise (
            NonceNeeded("the clock of the proof is off")
            if slack == SKEW
            else Untrusted("the proof is too old")
        )
    return Proof(key.thumbprint, _jti(claims), now + max(NONCE_SECONDS, SKEW) + SKEW, key)


def make_assertion(key: PrivateKey, client_id: str, issuer: str, *, now: float) -> str:
    """A client assertion: `client_id` proves itself to the authority called `issuer`."""
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": issuer,
        "iat": int(now),
        "nbf": int(now),
        "exp": int(now) + ASSERTION_SECONDS,
        "jti": secrets.token_urlsafe(16),
    }
    return signed.write(claims, key, ASSERTION, {"kid": key.thumbprint})


def claimed_client(assertion: str) -> tuple[str, str]:
    """(client id, key thumbprint) that an assertion claims, unverified: to look the key up by."""
    return (
        signed.text_claim(signed.peek_claims(assertion), "sub"),
        str(signed.peek_header(assertion).get("kid", "")),
    )


def verify_assertion(assertion: str, key: PublicKey, client_id: str, issuer: str, *, now: float) -> Proof:
    """The verified assertion of `client_id`, signed by its registered `key`; raises `Untrusted`."""
    header, claims = signed.read(assertion, ASSERTION, lambda _: key)
    if header.get("kid") != key.thumbprint:
        raise Untrusted("kid is not the thumbprint of the key")
    if signed.text_claim(claims, "iss") != client_id or signed.text_claim(claims, "sub") != client_id:
        raise Untrusted("iss and sub are not the client")
    if signed.text_claim(claims, "aud") != issuer:
        raise Untrusted("aud is not the issuer")
    issued, ends = signed.time_claim(claims, "iat"), signed.time_claim(claims, "exp")
    if not issued <= ends <= issued + ASSERTION_SECONDS:
        raise Untrusted("the assertion lives too long")
    if issued > now + SKEW or now > ends + SKEW:
        raise Untrusted("the assertion is not of now")
    return Proof(key.thumbprint, _jti(claims), ends + SKEW + 1, key, issued)


def canonical(url: str) -> str:
    """`url` as proofs compare it: scheme and host in lower case, no default port, no query, no fragment."""
    parts = urlsplit(url)
    host = parts.netloc.lower()
    if parts.scheme.lower() == "https":
        host = host.removesuffix(":443")
    return urlunsplit((parts.scheme.lower(), host, parts.path or "/", "", ""))


def _address(claims: signed.Claims) -> str:
    try:
        return canonical(signed.text_claim(claims, "htu"))
    except ValueError as broken:
        raise Untrusted("htu is not an address") from broken


def _embedded_key(header: signed.Header) -> PublicKey:
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise Untrusted("the proof holds no key")
    try:
        return PublicKey.from_jwk(jwk)
    except KeyTrouble as refused:
        raise Untrusted(str(refused)) from refused


def _slack(claims: signed.Claims, now: float, nonces: Nonces, *, nonce_required: bool) -> float:
    nonce = claims.get("nonce")
    if nonce is None and not nonce_required:
        return SKEW
    if not isinstance(nonce, str) or not nonces.good(nonce, now):
        raise NonceNeeded("the proof has no nonce of this service, or an old one")
    return SKEW_WITH_NONCE


def _jti(claims: signed.Claims) -> str:
    jti = signed.text_claim(claims, "jti")
    if len(jti) > _MAX_JTI:
        raise Untrusted("jti is too long")
    return jti


def _digest(access_token: str) -> str:
    return _b64(hashlib.sha256(access_token.encode()).digest())


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
