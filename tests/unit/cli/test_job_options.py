"""One table of options: every field of `JobOptions` is an option of both commands, and arrives in the API's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.cli.conftest import Answer
from wherry.cli.job_options import PANELS, job_options
from wherry.model.options import TABLE, JobOptions, Verify

Program = Callable[..., Answer]


def parsed(*arguments: str) -> dict[str, Any]:
    """The options that a command gets for these arguments."""
    got: list[dict[str, Any]] = []

    @job_options
    def command(name: str, options: dict[str, Any]) -> None:
        assert name == "x"
        got.append(options)

    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    result = CliRunner().invoke(app, ["x", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got[0]


def test_every_option_has_its_place() -> None:
    assert sorted(name for names in PANELS.values() for name in names) == sorted(TABLE)


@pytest.mark.parametrize("command", [("copy",), ("job", "create"), ("job", "update")])
def test_every_option_is_there(command: tuple[str, ...], wherry: Program) -> None:
    told = wherry(*command, "--help").out

    assert [name for name in TABLE if f"--{name.replace('_', '-')}" not in told] == []


def test_nothing_given_is_nothing_told() -> None:
    assert parsed() == {}


def test_all_given_is_read_by_the_model() -> None:
    told = parsed(
        "--mode", "mirror", "--include", "*.py", "--include", "docs/*", "--exclude", "tmp", "--compare", "SIZE",
        "--verify", "readback", "--links", "skip", "--max-delete", "0", "--allow-empty-source", "--dry-run",
        "--no-accept-new-source",
    )  # fmt: skip

    assert told == {
        "mode": "Mirror", "include": ["*.py", "docs/*"], "exclude": ["tmp"], "compare": "size", "verify": "readback",
        "links": "skip", "maxDelete": 0, "allowEmptySource": True, "dryRun": True, "acceptNewSource": False,
    }  # fmt: skip
    assert JobOptions.from_json(told).include == ("*.py", "docs/*")


def test_quantities_and_lists_are_read_by_the_model() -> None:
    told = parsed(
        "--min-size", "1K", "--max-size", "2GiB", "--bandwidth", "400Mbps", "--requests-per-second", "50",
        "--newer-than", "7d", "--older-than", "2026-01-01", "--verify", "sample=5%", "--preserve", "mode, times",
        "--ignore-case",
    )  # fmt: skip

    options = JobOptions.from_json(told)
    assert (options.min_size, options.max_size, options.bandwidth) == (1024, 2**31, 50_000_000)
    assert (options.verify, options.sample) == (Verify.SAMPLE, 5)
    assert (options.newer_than, options.preserve) == ("7d", ("mode", "times"))


@pytest.mark.parametrize(("word", "kept"), [("all", 5), ("none", 0)])
def test_all_and_nothing_of_a_list(word: str, kept: int) -> None:
    options = JobOptions.from_json({"compare": "size", **parsed("--preserve", word)})

    assert len(options.preserve) == kept
