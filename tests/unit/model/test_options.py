"""Options: one table, one way in, errors that name what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.errors import UsageError
from wherry.model.options import DELETE_FLOOR, Compare, CopyMode, JobOptions, Links, Verify

PATTERNS = st.lists(st.text(min_size=1), max_size=3).map(tuple)
OPTIONS = st.builds(
    JobOptions,
    mode=st.sampled_from(CopyMode),
    include=PATTERNS,
    exclude=PATTERNS,
    compare=st.sampled_from(Compare),
    verify=st.sampled_from(Verify),
    links=st.sampled_from(Links),
    max_delete=st.none() | st.integers(0, 10**9),
    allow_empty_source=st.booleans(),
    accept_new_source=st.booleans(),
    dry_run=st.booleans(),
)


@given(OPTIONS)
def test_options_survive_the_api(options: JobOptions) -> None:
    assert JobOptions.from_json(options.to_json()) == options


def test_defaults_are_not_told() -> None:
    assert JobOptions().to_json() == {}
    assert JobOptions(max_delete=0, dry_run=True).to_json() == {"maxDelete": 0, "dryRun": True}


def test_words_are_read_without_case() -> None:
    assert JobOptions.from_json({"mode": "mirror", "compare": "SIZE"}) == JobOptions(
        mode=CopyMode.MIRROR, compare=Compare.SIZE
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"colour": "red"}, "colour"),
        ({"max_delete": 1}, "max_delete"),
        ({"mode": "Sideways"}, "Additive, Mirror"),
        ({"mode": 1}, "mode"),
        ({"verify": None}, "verify"),
        ({"include": "*.txt"}, "include"),
        ({"exclude": [""]}, "exclude"),
        ({"exclude": [1]}, "exclude"),
        ({"maxDelete": -1}, "maxDelete"),
        ({"maxDelete": True}, "maxDelete"),
        ({"maxDelete": "5"}, "maxDelete"),
        ({"dryRun": "yes"}, "dryRun"),
        ({"dryRun": 1}, "dryRun"),
        ([], "object"),
        ("mode", "object"),
        (None, "object"),
    ],
)
def test_what_is_wrong_is_named(data: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        JobOptions.from_json(data)


@pytest.mark.parametrize(
    ("options", "scanned", "allowed"),
    [
        (JobOptions(), 0, DELETE_FLOOR),
        (JobOptions(), 10_000, 2000),
        (JobOptions(max_delete=3), 10_000, 3),
        (JobOptions(max_delete=0), 10_000, 0),
    ],
)
def test_how_much_may_be_deleted(options: JobOptions, scanned: int, allowed: int) -> None:
    assert options.allowed_deletes(scanned) == allowed
