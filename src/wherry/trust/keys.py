"""Keys: of agents (EC P-256), of the service (RSA-3072), and the master key that seals all others at rest.

`PrivateKey` never shows its private part except through `pem`, whose result goes into a 0600 file (agent) or under
the master key (service).  Thumbprints are RFC 7638 SHA-256, base64url.  Called by tokens, proofs and authority
here, by the agent for its own key and by the control plane for what it stores.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from wherry.model.errors import WherryError

RSA_BITS = 3072
MIN_RSA_BITS = 2048
_FORMAT = b"\x01"
_NONCE = 12
_ID = 8
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

Algorithm = Literal["ES256", "RS256"]


class KeyTrouble(WherryError):
    """A key that cannot be read, or something sealed that cannot be opened with it."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half: what an agent registers, what the key set publishes."""

    jose: ECKey | RSAKey

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> PublicKey:
        """A public EC P-256 or RSA key; anything else, and a private key, is refused with `KeyTrouble`."""
        if _PRIVATE_MEMBERS & set(jwk):
            raise KeyTrouble("The key must be a public JSON Web Key.")
        try:
            if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256":
                return cls(ECKey.import_key({name: str(jwk[name]) for name in ("kty", "crv", "x", "y")}))
            if jwk.get("kty") == "RSA":
                _refuse_short(str(jwk["n"]))
                return cls(RSAKey.import_key({name: str(jwk[name]) for name in ("kty", "n", "e")}))
        except (JoseError, KeyError, ValueError, TypeError) as broken:
            raise KeyTrouble("The key cannot be read.") from broken
        raise KeyTrouble("The key must be EC P-256 or RSA.")

    @property
    def algorithm(self) -> Algorithm:
        return "ES256" if isinstance(self.jose, ECKey) else "RS256"

    @property
    def thumbprint(self) -> str:
        return self.jose.thumbprint()

    def jwk(self) -> dict[str, Any]:
        """The members that define the key, nothing else."""
        members = ("kty", "crv", "x", "y") if isinstance(self.jose, ECKey) else ("kty", "n", "e")
        whole = self.jose.as_dict(private=False)
        return {name: whole[name] for name in members}


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A key pair that signs: the agent's EC key or one of the service's RSA keys."""

    jose: ECKey | RSAKey

    @classmethod
    def for_agent(cls) -> PrivateKey:
        """A new EC P-256 key."""
        return cls(ECKey.import_key(ec.generate_private_key(ec.SECP256R1())))

    @classmethod
    def for_service(cls) -> PrivateKey:
        """A new RSA-3072 key."""
        return cls(RSAKey.import_key(rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)))

    @classmethod
    def from_pem(cls, pem: bytes, *, ours: bool = False) -> PrivateKey:
        """The key in an unencrypted PKCS#8 file; `KeyTrouble` when it holds none that can be used here.

        `ours`: it comes out of our own seal, so that its numbers need no check, which takes a tenth of a second.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=ours)
        except (ValueError, TypeError) as broken:
            raise KeyTrouble("The private key cannot be read.") from broken
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(ECKey.import_key(key))
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
            return cls(RSAKey.import_key(key))
        raise KeyTrouble("The private key must be EC P-256 or RSA of at least 2048 bits.")

    @property
    def algorithm(self) -> Algorithm:
        return "ES256" if isinstance(self.jose, ECKey) else "RS256"

    @property
    def thumbprint(self) -> str:
        return self.jose.thumbprint()

    @property
    def public(self) -> PublicKey:
        return PublicKey.from_jwk({k: v for k, v in self.jose.as_dict(private=False).items() if k != "kid"})

    def pem(self) -> bytes:
        """The private key in the clear: for a 0600 file or for `MasterKey.seal`, nowhere else."""
        return self.jose.as_pem(private=True)


@dataclass(frozen=True, slots=True, repr=False)
class MasterKey:
    """256 bits that seal everything else; the only key that lies outside the database."""

    secret: bytes

    @classmethod
    def generate(cls) -> MasterKey:
        return cls(secrets.token_bytes(32))

    @classmethod
    def from_text(cls, text: str) -> MasterKey:
        """The key from its file; `KeyTrouble` when it is damaged."""
        try:
            secret = bytes.fromhex(text.strip())
        except ValueError as broken:
            raise KeyTrouble("The master key is damaged: 64 hexadecimal digits are expected.") from broken
        if len(secret) != 32:
            raise KeyTrouble("The master key is damaged: 64 hexadecimal digits are expected.")
        return cls(secret)

    def text(self) -> str:
        """The form that its file holds."""
        return self.secret.hex() + "\n"

    @property
    def id(self) -> bytes:
        """Eight bytes that tell this key from others without telling the key."""
        return self.derive("key id")[:_ID]

    def derive(self, purpose: str) -> bytes:
        """A 256-bit key for one purpose: nonces, form tokens, hashes of codes."""
        return HKDF(hashes.SHA256(), 32, salt=None, info=b"wherry " + purpose.encode()).derive(self.secret)

    def sealed(self, blob: bytes) -> bool:
        """Whether `blob` says that it was sealed with this key."""
        return blob[: 1 + _ID] == _FORMAT + self.id

    def seal(self, plain: bytes, context: str) -> bytes:
        """`plain` encrypted so that it opens only with this key and the same `context` (what it belongs to)."""
        nonce = secrets.token_bytes(_NONCE)
        head = _FORMAT + self.id
        return head + nonce + AESGCM(self.derive("seal")).encrypt(nonce, plain, head + context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """What `seal` was given; `KeyTrouble` for another key, another context or damage."""
        head, rest = sealed[: 1 + _ID], sealed[1 + _ID :]
        if head != _FORMAT + self.id:
            raise KeyTrouble(
                "This was sealed with another master key: put back the one that belongs to this state."
            )
        try:
            return AESGCM(self.derive("seal")).decrypt(rest[:_NONCE], rest[_NONCE:], head + context.encode())
        except (InvalidTag, ValueError) as broken:
            raise KeyTrouble("Something sealed with the master key is damaged or out of place.") from broken


def sha256(text: str) -> str:
    """Hexadecimal SHA-256: how random tokens and codes of full entropy are stored."""
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_short(modulus: str) -> None:
    number = base64.urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))
    if int.from_bytes(number).bit_length() < MIN_RSA_BITS:
        raise KeyTrouble(f"An RSA key must have at least {MIN_RSA_BITS} bits.")
