"""Passwords: argon2id with the library's defaults (RFC 9106, low memory), and random ones for first sign-ins."""

from __future__ import annotations

import functools
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MAX_LENGTH = 1024
"""Longer ones are refused unread: hashing costs the service more than the guess costs the guesser."""

LEAST_LENGTH = 12
_LEAST_DIFFERENT = 5
# What is left of the passwords that are guessed first when digits and signs are taken away.
_WELL_KNOWN = ("password", "passwort", "qwertyuiop", "qwerty", "letmein", "welcome", "administrator", "admin", "wherry",
               "abcdefghijkl", "iloveyou", "changeme", "secret")  # fmt: skip
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_hasher = PasswordHasher()


@functools.cache
def _nobody() -> str:
    """Verified against when there is no such user, so that the answer takes as long as for a wrong password."""
    return _hasher.hash(secrets.token_hex(16))


def weakness(password: str, login: str) -> str:
    """Why people may not choose `password`, to be shown to them; empty when they may."""
    plain = "".join(character for character in password.lower() if character.isalpha())
    if not LEAST_LENGTH <= len(password) <= MAX_LENGTH:
        return f"A password has {LEAST_LENGTH} to {MAX_LENGTH} characters."
    if len(set(password)) < _LEAST_DIFFERENT:
        return f"A password has at least {_LEAST_DIFFERENT} different characters."
    if len(login) > 2 and login.lower().partition("@")[0] in password.lower():
        return "A password does not contain the user name."
    if any(plain.replace(word, "") == "" for word in _WELL_KNOWN):
        return "This password is among those that are guessed first."
    return ""


def protect(password: str) -> str:
    """The verifier to store instead of `password`."""
    if not 0 < len(password) <= MAX_LENGTH:
        raise ValueError(f"a password has 1 to {MAX_LENGTH} characters")
    return _hasher.hash(password)


def matches(verifier: str | None, password: str) -> bool:
    """Whether `password` is the one of `verifier`; takes the same time when there is no verifier."""
    if len(password) > MAX_LENGTH:
        return False
    try:
        _hasher.verify(verifier or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return verifier is not None


def needs_renewal(verifier: str) -> bool:
    """Whether `verifier` was made with older parameters and should be replaced at the next sign-in."""
    return _hasher.check_needs_rehash(verifier)


def random_password() -> str:
    """Twenty characters in groups of five (99 bits), without look-alikes, easy to type from paper."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))
    return "-".join(groups)
