"""The page on `wherry copy` and its help say the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.unit.cli.conftest import Answer
from wherry.cli.copy_options import CHOICES, EXAMPLES, ORDER
from wherry.cli.exits import Exit

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "copy.md").read_text()


def test_the_page_has_the_options_of_the_help(wherry: Callable[..., Answer]) -> None:
    told = wherry("copy", "--help").out

    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", told.partition("\nExamples:")[0])) - {"--help"}
    described = set(
        re.findall(r"`(--[a-z][a-z-]+)`", PAGE.partition("### What is copied")[2].partition("<!--")[0])
    )
    assert options == described
    assert [told.index(f"\n{panel}:") for panel in ORDER] == sorted(
        told.index(f"\n{panel}:") for panel in ORDER
    )
    assert told.endswith(EXAMPLES)


def test_every_option_has_a_panel() -> None:
    assert {one.panel for one in CHOICES} == set(ORDER)


def test_exit_codes_are_those_of_the_program() -> None:
    codes = {
        int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.partition("## Exit codes")[2], re.MULTILINE)
    }

    assert codes <= {int(code) for code in Exit}
