"""The table of versions of agents that are served, and what follows from it."""

from __future__ import annotations

import pytest

from wherry import __version__
from wherry.model.agent_versions import AVAILABLE, REQUIRED, SERVED, Notice, Served
from wherry.model.versions import Version

TABLE = Served(oldest=Version(1, 4, 0), newest=Version(2, 0, 0))


def test_the_table_knows_the_agent_of_this_release() -> None:
    assert SERVED.newest == Version.parse(__version__)
    assert SERVED.oldest <= SERVED.newest


@pytest.mark.parametrize(
    ("reported", "code"),
    [
        ("1.3.9", REQUIRED),
        ("0.99.99", REQUIRED),
        ("1.4.0", AVAILABLE),
        ("1.10.0", AVAILABLE),
        ("2.0.0", None),
        ("2.0.1", None),
        ("10.0.0", None),
        ("", None),
        ("1.3", None),
        ("unknown", None),
    ],
)
def test_what_an_agent_is_told(reported: str, code: str | None) -> None:
    told = TABLE.notice(reported)
    assert (told.code if told else None) == code


def test_a_refusal_says_what_runs_what_is_needed_and_what_to_do() -> None:
    told = TABLE.notice("1.3.9")
    assert told is not None
    assert told.required
    assert "It runs 1.3.9; 1.4.0 is needed at least, 2.0.0 is the newest." in told.message
    assert "wherry package offer" in told.message
    assert Notice.from_json(told.to_json()) == told


def test_what_is_offered_counts_as_known() -> None:
    assert TABLE.knowing(None) == TABLE
    assert TABLE.knowing(Version(1, 0, 0)) == TABLE
    told = TABLE.knowing(Version(2, 1, 0)).notice("2.0.0")
    assert told is not None
    assert (told.code, told.version) == (AVAILABLE, "2.1.0")
