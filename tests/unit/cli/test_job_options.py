"""One table of options: every field of `JobOptions` is an option of both commands, and arrives in the API's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.cli.conftest import Answer
from wherry.cli.job_options import HELP, job_options
from wherry.model.options import JobOptions

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


def test_every_option_is_explained() -> None:
    assert set(HELP) == {one.name for one in fields(JobOptions)}


@pytest.mark.parametrize("command", [("copy",), ("job", "create"), ("job", "update")])
def test_every_option_is_there(command: tuple[str, ...], wherry: Program) -> None:
    told = wherry(*command, "--help").out

    assert [name for name in HELP if f"--{name.replace('_', '-')}" not in told] == []


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
