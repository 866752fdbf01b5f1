"""Tags as people type them, and as they may be."""

from __future__ import annotations

import pytest

from wherry.model import tags
from wherry.model.errors import UsageError


def test_tags_are_read_as_people_type_them() -> None:
    assert tags.parse("") == {}
    assert tags.parse("site=north, Owner = a=b ,empty=") == {"site": "north", "Owner": "a=b", "empty": ""}
    assert tags.of_pairs(["note=one, two"]) == {"note": "one, two"}


@pytest.mark.parametrize(
    "words",
    [
        "site",
        "=north",
        "a=1,A=2",
        "a/b=1",
        "a\x1b=1",
        "n" * 513 + "=1",
        "a=" + "v" * 257,
        ",".join(f"t{number}=1" for number in range(51)),
    ],
    ids=["no value", "no name", "twice", "forbidden", "hidden", "long name", "long value", "too many"],
)
def test_what_is_no_tag_is_refused(words: str) -> None:
    with pytest.raises(UsageError):
        tags.parse(words)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError):
        tags.check({"a": 1})
