"""Passwords."""

from __future__ import annotations

import re

import pytest

from wherry.trust import passwords


def test_a_password_matches_its_verifier_only():
    verifier = passwords.protect("right")
    # RFC 9106's second choice: 64 MiB, three rounds, four lanes.
    assert verifier.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.matches(verifier, "right")
    assert not passwords.matches(verifier, "wrong")
    assert not passwords.needs_renewal(verifier)
    assert verifier != passwords.protect("right")


def test_nobody_has_no_password_and_damage_is_no_way_in():
    assert not passwords.matches(None, "")
    assert not passwords.matches(None, "right")
    assert not passwords.matches("", "")
    assert not passwords.matches("garbage", "right")


def test_lengths_are_bounded():
    for length in (0, passwords.MAX_LENGTH + 1):
        with pytest.raises(ValueError, match="characters"):
            passwords.protect("x" * length)
    verifier = passwords.protect("x" * passwords.MAX_LENGTH)
    assert passwords.matches(verifier, "x" * passwords.MAX_LENGTH)
    assert not passwords.matches(verifier, "x" * (passwords.MAX_LENGTH + 1))


def test_random_passwords_can_be_typed():
    made = {passwords.random_password() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"([a-hjkmnp-z2-9]{5}-){3}[a-hjkmnp-z2-9]{5}", one) for one in made)
