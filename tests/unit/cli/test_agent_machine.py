"""The agent of this machine, as far as nobody else is needed: how it stands, its shell, what it refuses."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Answer
from wherry.agent.state import AgentState

Program = Callable[..., Answer]


def test_how_it_stands(tmp_path: Path, wherry: Program) -> None:
    told = wherry("agent", "status", "--state", str(tmp_path / "agent")).data

    assert told == {
        "state": "not registered",
        "agentId": None,
        "url": None,
        "daemon": "stopped",
        "upgrade": None,
        "directory": str(tmp_path / "agent"),
        "missing": [],
    }


def test_a_daemon_that_runs_is_seen_and_is_the_only_one(
    tmp_path: Path, wherry: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_AGENT_STATE", str(tmp_path / "agent"))
    with AgentState(tmp_path / "agent").alone("run"):
        assert wherry("agent", "status").data["daemon"] == "running"
        second = wherry("agent", "run")

    assert second.code == 5
    assert "already uses" in second.err


@pytest.fixture
def no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes from standard input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.mark.usefixtures("no_lines")
def test_the_shell_takes_lines_from_anywhere_and_ends_with_them(tmp_path: Path, wherry: Program) -> None:
    answer = wherry("agent", "shell", "--state", str(tmp_path / "agent"))

    assert answer.code == 0
    assert answer.out.startswith("\n1) System configuration\n")
    assert answer.out.endswith("xdmsh> ")


@pytest.mark.usefixtures("no_lines")
def test_behind_a_login_there_is_nothing_without_the_password(tmp_path: Path, wherry: Program) -> None:
    answer = wherry("agent", "shell", "--login", "--state", str(tmp_path / "agent"))

    assert answer.code == 1
    assert "xdmsh" not in answer.out


def test_one_that_is_not_registered_cannot_be_unregistered(tmp_path: Path, wherry: Program) -> None:
    answer = wherry("agent", "unregister", "--state", str(tmp_path / "agent"), "--yes")

    assert answer.code == 2
    assert answer.err == "This agent is not registered.\n"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--name": "a b"}, "agent name"),
        ({"--subscription": "none"}, "subscription ID"),
        ({"--url": "http://host"}, "https://"),
        ({"--ca-fingerprint": "12"}, "64 hexadecimal digits"),
    ],
)
def test_a_registration_that_cannot_be_is_refused_at_once(
    changed: dict[str, str], said: str, tmp_path: Path, wherry: Program
) -> None:
    options = {
        "--name": "a", "--subscription": "11111111-1111-1111-1111-111111111111", "--group": "g", "--mover": "m",
        "--url": "https://127.0.0.1:9", "--ca-fingerprint": "0" * 64, "--state": str(tmp_path / "agent"), **changed,
    }  # fmt: skip

    answer = wherry("agent", "register", *(word for pair in options.items() for word in pair))

    assert answer.code == 2
    assert said in answer.err


def test_a_folder_that_is_not_there_is_no_root(tmp_path: Path, wherry: Program) -> None:
    answer = wherry(
        "agent", "run", "--state", str(tmp_path / "agent"), "--allow-source", str(tmp_path / "no")
    )

    assert answer.code == 2
    assert "--allow-source" in answer.err
