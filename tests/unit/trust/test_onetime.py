"""Codes of authenticator apps and recovery codes."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from wherry.trust import onetime

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (20000000000, "353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(time: int, code: str) -> None:
    """The test vectors of its appendix B, which have eight digits: the last six are ours."""
    assert onetime.code(SECRET, time // 30) == code


def test_a_code_counts_around_its_time_and_once() -> None:
    code = onetime.code(SECRET, 100)
    for now in (99 * 30, 100 * 30, 101 * 30 + 29):
        assert onetime.accepted_step(SECRET, code, now, 0) == 100
    assert onetime.accepted_step(SECRET, f" {code[:3]} {code[3:]} ", 3000, 99) == 100
    for now, after in ((98 * 30 + 29, 0), (102 * 30, 0), (3000, 100), (3000, 101)):
        assert onetime.accepted_step(SECRET, code, now, after) is None


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "abcdef", "１２３４５６", "12 345", "-12345"])  # noqa: RUF001
def test_what_is_no_code(typed: str) -> None:
    assert onetime.accepted_step(SECRET, typed, 3000, 0) is None


def test_an_app_is_told_all_that_it_needs() -> None:
    parts = urlsplit(onetime.address(SECRET, "Wherry plane.example", "a@b c"))
    assert (parts.scheme, parts.netloc, parts.path) == (
        "otpauth",
        "totp",
        "/Wherry%20plane.example:a%40b%20c",
    )
    assert parse_qs(parts.query)["secret"] == [onetime.secret_text(SECRET).replace(" ", "")]
    assert len(onetime.new_secret()) == 20


def test_recovery_codes_are_many_long_and_their_users_own() -> None:
    codes = onetime.new_recovery_codes()
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"([a-z2-9]{4}-){3}[a-z2-9]{4}", code) for code in codes)
    hashed = onetime.recovery_hash("oid", codes[0])
    assert hashed == onetime.recovery_hash("oid", f" {codes[0].upper().replace('-', ' ')}")
    assert hashed != onetime.recovery_hash("other", codes[0])
    for wrong in ("", "123456", "abcd-efgh", codes[0] + "a", "o" * 16):
        assert onetime.recovery_hash("oid", wrong) is None
