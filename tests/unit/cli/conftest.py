"""A person of their own for each test: no settings of the machine, and the program called in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wherry.cli import main


@dataclass(frozen=True)
class Answer:
    """What a command printed and ended with."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration folder."""
    for name in [name for name in os.environ if name.startswith("WHERRY_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "config"
    monkeypatch.setenv("WHERRY_CONFIG_DIR", str(folder))
    return folder


@pytest.fixture
def wherry(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The program, called with arguments."""

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main.call(list(arguments))
        printed = capsys.readouterr()
        return Answer(code, printed.out, printed.err)

    return call


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small folder to copy."""
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "one.txt").write_bytes(b"one")
    (folder / "deep" / "two.bin").write_bytes(b"2" * 5000)
    (folder / "skip.tmp").write_bytes(b"x")
    return folder
