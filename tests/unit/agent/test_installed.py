"""Programs of the system that the agent starts: bounded in time and in what they write."""

from __future__ import annotations

import pytest

from wherry.agent import installed
from wherry.model.errors import UsageError


def test_what_a_program_says_comes_back_with_its_end() -> None:
    said = installed.run(["/bin/sh", "-c", "echo one; echo two >&2; exit 3"], 20)

    assert (said.code, said.text, said.last_line) == (3, "one\ntwo\n", "two")


def test_attack_45_endless_words_fill_no_disk() -> None:
    said = installed.run(["/bin/sh", "-c", "exec yes"], 20)

    assert said.code != 0
    assert len(said.text) == 256 * 1024


def test_who_takes_too_long_is_ended() -> None:
    with pytest.raises(UsageError, match="No answer within 0 s"):
        installed.run(["/bin/sh", "-c", "exec sleep 60"], 0.05)
