"""Which places contain one another."""

from __future__ import annotations

import pytest

from wherry.control.services import claims
from wherry.model.wire import Place


@pytest.mark.parametrize(
    ("one", "other", "overlapping"),
    [
        (b"", b"", True),
        (b"", b"a", True),
        (b"a", b"a/b", True),
        (b"a/b/c", b"a/b", True),
        (b"a", b"ab", False),
        (b"a/b", b"a/c", False),
        (b"a/b", b"a-b", False),
    ],
)
def test_overlap_is_by_whole_names_and_has_no_direction(one: bytes, other: bytes, overlapping: bool) -> None:
    assert claims.overlap(one, other) is overlapping
    assert claims.overlap(other, one) is overlapping


def test_where_a_place_lies() -> None:
    assert claims.path_of(Place("LocalMount", "/data/x", b"in/y")) == b"data/x/in/y"
    assert claims.path_of(Place("LocalMount", "/", b"")) == b""
    assert claims.path_of(Place("LocalMount", "/", b"y")) == b"y"
    assert claims.path_of(Place("AzureStorageBlobContainer", "https://blob.example/c", b"p")) == b"p"
