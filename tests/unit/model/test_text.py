"""What comes from elsewhere cannot steer a terminal, and traces tell no secret."""

from __future__ import annotations

import json

import pytest

from wherry.model.text import json_safe, one_line, printable, without_secrets

HOSTILE = "\x1b]0;owned\x07 \x9b31m \u202egnp.exe \x00 \udcff \ufeff"


def test_attack_59_a_terminal_gets_nothing_that_it_obeys() -> None:
    shown = printable(HOSTILE)

    assert shown == r"\x1b]0;owned\x07 \x9b31m \u202egnp.exe \x00 \xff \ufeff"
    assert shown.encode().isascii()


def test_names_of_people_stay_readable() -> None:
    assert printable("Grüße, 写真 🎉\n\tnext") == "Grüße, 写真 🎉\n\tnext"


def test_a_cell_is_one_line() -> None:
    assert one_line("a\nb\tc") == r"a\nb\tc"


def test_json_means_the_same_afterwards() -> None:
    told = {"name": "\x1b[2J \u202e \x7f ä", "nested": ["\x9b"]}

    safe = json_safe(json.dumps(told, ensure_ascii=False, indent=2))

    assert json.loads(safe) == told
    assert not set("\x1b\u202e\x7f\x9b") & set(safe)
    assert "ä" in safe


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hush-hush-hush-123",
        "Authorization: DPoP hush-hush-hush-123",
        "https://host/container?si=run&sig=hush-hush-hush%2B123",
        "{'accountKey': 'hush-hush-hush-123'}",
        '"refresh_token": "hush-hush-hush-123"',
        "password=hush-hush-hush-123",
        "token eyJhush-hush-hush-123.eyJhush-hush-hush-123.hush-hush-hush-123",
    ],
)
def test_secrets_are_blanked(text: str) -> None:
    blanked = without_secrets(text)

    assert "hush-hush" not in blanked
    assert "***" in blanked


def test_what_is_no_secret_stays() -> None:
    text = "GET https://host:8443/subscriptions/1?api-version=2025-12-01 404 Not Found"

    assert without_secrets(text) == text
