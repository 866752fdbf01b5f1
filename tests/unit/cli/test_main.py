"""The program as a whole: what it imports, how it fails, its help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Answer
from wherry import __version__
from wherry.cli import connected, exits
from wherry.model.errors import ApiError, RunError

Program = Callable[..., Answer]

# Each takes long to import, none is needed to show help.
SLOW = {"azure", "cryptography", "fastapi", "httpx", "jmespath", "rich", "sqlalchemy", "starlette", "uvicorn"}


def test_help_imports_nothing_that_is_slow() -> None:
    code = "import sys; from wherry.cli.program import app; print(*sorted(sys.modules), sep='\\n')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {name.partition(".")[0] for name in answer.stdout.split()} & SLOW == set()


def test_a_plain_copy_loads_nothing_that_is_slow(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    code = (
        "import sys; from wherry.cli.main import call\n"
        f"assert call(['copy', {str(tmp_path / 'source')!r}, {str(tmp_path / 'target')!r}, '--workers', '0']) == 0\n"
        "print(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in answer.stderr.split()}
    assert (
        loaded & (SLOW | {"argparse", "asyncio", "awscrt", "http", "pyarrow", "pydantic", "typer"}) == set()
    )


def test_the_version_is_told_at_once() -> None:
    code = "import sys; from wherry.cli.main import call; call(['--version']); print('typer' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout == f"wherry {__version__}\nFalse\n"


def test_a_command_loads_no_other_one() -> None:
    code = "import sys; from wherry.cli.main import call; call(['exit-codes']); print(*sys.modules, file=sys.stderr)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "wherry.cli.exits" in answer.stderr.split()
    assert "wherry.cli.job" not in answer.stderr.split()


def test_a_worker_process_loads_no_command_line() -> None:
    code = "import sys, wherry.cli.main; print('typer' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "False"


def test_help_names_the_commands(wherry: Program) -> None:
    answer = wherry("--help")

    assert answer.code == 0
    assert all(
        f"\n  {noun} " in answer.out for noun in ("serve", "copy", "demo", "job", "run", "agent", "log")
    )
    assert wherry("--version").out == f"wherry {__version__}\n"


def test_exit_codes_are_told(wherry: Program) -> None:
    lines = wherry("exit-codes").out.splitlines()

    assert [int(line.split()[0]) for line in lines] == [int(code) for code in exits.Exit]


@pytest.mark.parametrize(
    "arguments", [("nothing",), ("job", "start"), ("copy", "a"), ("mover", "list", "--nothing")]
)
def test_what_is_asked_wrongly_ends_with_2(arguments: tuple[str, ...], wherry: Program) -> None:
    answer = wherry(*arguments)

    assert answer.code == 2
    assert answer.out == ""
    assert "Traceback" not in answer.err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def session(*_: object) -> None:
        raise error

    monkeypatch.setattr(connected, "session", session)
    monkeypatch.setattr("wherry.cli.group.session", session)


def test_an_error_is_a_line_a_remedy_and_a_code(wherry: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, RunError("AZSM1027", "See run \x1b[2J."))

    answer = wherry("group", "list")

    assert answer.code == 11
    assert answer.err.splitlines() == [
        "AZSM1027: The target is busy with an overlapping run. See run \\x1b[2J.",
        "  Wait for that run, or stop it.",
    ]


def test_debug_shows_the_trace_without_secrets(wherry: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ApiError(500, "Broken", "Authorization: Bearer hush-hush-hush-hush"))

    answer = wherry("group", "list", "--debug")

    assert answer.code == 1
    assert "Traceback" in answer.err
    assert "hush" not in answer.err


def test_trouble_of_the_machine_is_no_trace(wherry: Program, tmp_path: Path) -> None:
    answer = wherry(
        "storage", "create", "-n", "acc", "--blob-endpoint", "https://x", "--key-file", f"{tmp_path}/no"
    )

    assert answer.code == 1
    assert answer.err == f"{tmp_path}/no: No such file or directory\n"


def test_ctrl_c_ends_with_130(wherry: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())

    assert wherry("group", "list").code == 130


def test_switches_after_two_dashes_are_arguments(wherry: Program, tmp_path: Path) -> None:
    answer = wherry("copy", "--", str(tmp_path / "missing"), "--debug")

    assert answer.code == 11
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("wherry co", ["copy", "container", "config"]),
        ("wherry copy a b --req", ["--requests-per-second"]),
        ("wherry copy a b --links f", ["follow"]),
        ("wherry job up", ["update"]),
    ],
)
def test_shells_are_told_how_words_may_go_on(words: str, offered: list[str]) -> None:
    told = {"_WHERRY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    answer = subprocess.run(
        [sys.executable, "-m", "wherry"],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout.split() == offered
