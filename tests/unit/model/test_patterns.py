"""Patterns that cannot be read are refused with the reason; what they match is judged in `test_filters`."""

from __future__ import annotations

import pytest

from wherry.model import patterns
from wherry.model.errors import UsageError
from wherry.model.options import JobOptions


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names nothing"),
        ("/", "names nothing"),
        ("!", "names nothing"),
        ("a//b", "single slashes"),
        ("[a", "a \\[ without its \\]"),
        ("[]", "a \\[ without its \\]"),
        ("a\\", "a backslash at its end"),
        ("[[:letters:]]", "known are alpha"),
        ("[/]", "nothing can match"),
        ("a\0", "zero byte"),
    ],
)
def test_what_cannot_be_read(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        patterns.read(text)
    with pytest.raises(UsageError, match=f"Option 'exclude': .*{told}"):
        JobOptions.from_json({"exclude": [text]})


def test_what_a_pattern_is_about() -> None:
    assert patterns.read("*.txt").floating
    assert not patterns.read("/*.txt").floating
    assert patterns.read("build/").folders_only
    assert patterns.read("build/").floating
    assert patterns.read("!keep").negated
    assert not patterns.read("\\!keep").negated
