"""What is read without Typer is what Typer reads, and all else is left to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from wherry.cli import arguments, copy_options, signature
from wherry.cli.arguments import Choice, Takes
from wherry.cli.copy_options import CHOICES

_VALUES = st.sampled_from(["x", "a b", "*.py", "7d", "1K", "ä", "--x", "-", "", "mode,times"])


@st.composite
def _option(draw: st.DrawFn) -> list[str]:
    choice: Choice = draw(st.sampled_from(CHOICES))
    spelling = draw(st.sampled_from(choice.spellings))
    if choice.takes is Takes.NOTHING:
        return [spelling]
    if choice.takes is Takes.EITHER:
        return [draw(st.sampled_from([choice.spellings[0], choice.opposite]))]
    value = draw(_VALUES)
    if choice.takes is Takes.NUMBER:
        value = draw(st.sampled_from(["0", "1", "17", "-1", "x", "007"]))
    elif choice.words is not None:
        words = [str(one.value) for one in choice.words]
        value = draw(st.sampled_from([*words, *(word.upper() for word in words), "nothing"]))
    if spelling.startswith("--") and draw(st.booleans()):
        return [f"{spelling}={value}"]
    return [spelling, value]


COMMAND_LINES = st.lists(_option() | st.just(["more"]), max_size=5).flatmap(
    lambda options: st.permutations([["SRC"], ["DST"], *options])
)


def _call(_: Any, told: Mapping[str, Any], own: dict[str, Any]) -> None:
    GOT.append({**told, **own})


def _command(source: str, target: str) -> None:
    """Nothing: only what it is called with matters."""


GOT: list[dict[str, Any]] = []
OPTIONS = [signature.option(one.name, arguments.annotation(one), one.default) for one in CHOICES]
APP = typer.Typer(rich_markup_mode=None, add_completion=False)
APP.command()(signature.extended(_command, OPTIONS, _call))


def by_typer(given: list[str]) -> dict[str, Any] | None:
    """All values as Typer reads them; None when it refuses."""
    result = CliRunner().invoke(APP, given)
    assert result.exit_code in (0, 2)
    return None if result.exit_code else {name: arguments.plain(value) for name, value in GOT.pop().items()}


@settings(max_examples=200, deadline=None)
@given(COMMAND_LINES)
def test_both_readers_agree(lines: list[list[str]]) -> None:
    given = [word for line in lines for word in line]
    quick = arguments.quickly(CHOICES, 2, given)

    if quick is not None:
        (source, target), values = quick
        assert {**values, "source": source, "target": target} == by_typer(given)


@pytest.mark.parametrize(
    "given",
    [
        ["a", "b"],
        ["a", "b", "--mode", "MIRROR", "-q", "--dry-run", "--no-ignore-case"],
        ["--include=*.py", "a", "--include", "x=y", "b", "--workers", "0", "-o", "json"],
    ],
)
def test_what_is_plain_is_read_at_once(given: list[str]) -> None:
    assert arguments.quickly(CHOICES, 2, given) is not None


@pytest.mark.parametrize(
    "given",
    [
        [], ["a"], ["a", "b", "c"], ["a", "b", "--help"], ["a", "b", "--colour"], ["a", "b", "--include"],
        ["a", "b", "--include", "-x"], ["a", "b", "--workers", "-1"], ["a", "b", "--workers", "x"],
        ["a", "b", "--mode", "sideways"], ["a", "b", "--dry-run=1"], ["--", "a", "b"], ["a", "b", "-oq"], ["", "b"],
        ["a", "b", "--requests-per-second", "0"],
    ],
)  # fmt: skip
def test_all_else_is_left_to_typer(given: list[str]) -> None:
    assert arguments.quickly(CHOICES, 2, given) is None


def test_what_is_asked_for() -> None:
    read = copy_options.read(
        ["a", "b", "--log", "l.tsv", "--max-size", "5M", "--preserve", "mode,times", "-o", "TSV"]
    )

    assert read is not None
    asked, form, query = read
    assert (asked.source, asked.target, str(asked.log), asked.report) == ("a", "b", "l.tsv", None)
    assert asked.options == {"maxSize": "5M", "preserve": ["mode", "times"]}
    assert (form, query) == ("tsv", None)
