"""One-time codes: of an authenticator app (TOTP, RFC 6238, as every app knows it) and recovery codes on paper.

Pure but for randomness; the caller keeps the secret sealed and the last step that was accepted.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from urllib.parse import quote, urlencode

from wherry.trust.keys import sha256

STEP = 30.0
DIGITS = 6
RECOVERY_CODES = 10
_WINDOW = 1
_SECRET = 20
# No look-alikes, and no letters that a time code is made of.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS = 4


def new_secret() -> bytes:
    """160 random bits, as RFC 4226 recommends."""
    return secrets.token_bytes(_SECRET)


def secret_text(secret: bytes) -> str:
    """A secret to be typed: Base32 in groups of four."""
    letters = base64.b32encode(secret).decode()
    return " ".join(letters[place : place + 4] for place in range(0, len(letters), 4))


def address(secret: bytes, issuer: str, account: str) -> str:
    """What a QR code says to an authenticator app."""
    told = {
        "secret": base64.b32encode(secret).decode(),
        "issuer": issuer,
        "digits": DIGITS,
        "period": int(STEP),
    }
    return f"otpauth://totp/{quote(issuer)}:{quote(account)}?{urlencode(told)}"


def code(secret: bytes, step: int) -> str:
    """The code of a time step (RFC 4226 §5.3)."""
    digest = hmac.new(secret, step.to_bytes(8), "sha1").digest()
    place = digest[-1] & 15
    number = int.from_bytes(digest[place : place + 4]) & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def accepted_step(secret: bytes, typed: str, now: float, after: int) -> int | None:
    """The step around `now` whose code was typed, above `after`; None for a wrong code and for one that was used."""
    digits = "".join(typed.split())
    if len(digits) != DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    current, found = int(now // STEP), None
    for step in range(current - _WINDOW, current + _WINDOW + 1):
        if hmac.compare_digest(code(secret, step), digits) and step > after:
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Codes of 79 bits to keep on paper, each good for one sign-in."""
    return [_recovery_code() for _ in range(RECOVERY_CODES)]


def recovery_hash(oid: str, typed: str) -> str | None:
    """How the recovery code of a user is stored; None for what cannot be one."""
    letters = "".join(character for character in typed.lower() if character not in "- \t")
    if len(letters) != 4 * _GROUPS or not set(letters) <= set(_ALPHABET):
        return None
    return sha256(f"{oid} {letters}")


def _recovery_code() -> str:
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(_GROUPS))
