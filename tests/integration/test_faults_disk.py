"""Small file systems that fill up or may not be written: for the target, the log and the state of `wherry copy`.

Each case ends with a code and a sentence, leaves nothing that looks finished and is not, and goes on when there is
room.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import oracle
from tests.e2e.shell import Answer, Shell
from tests.small_disk import small
from wherry.cli.exits import Exit
from wherry.model.errors import CODES

FILES = 40
ROOT = os.geteuid() == 0
__all__ = ["small"]
needs_mounts = pytest.mark.skipif(not ROOT, reason="mounts a file system")


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    for number in range(FILES):
        folder = tmp_path / "source" / f"{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}").write_bytes(os.urandom(60_000))
    (tmp_path / "source" / "large").write_bytes(os.urandom(5_000_000))
    return Shell(tmp_path)


def copied(shell: Shell, *options: str, code: int = 0, target: str = "target") -> Answer:
    return shell.process("copy", "source", target, "--workers", "1", "--quiet", *options, code=code)


def equal(shell: Shell) -> bool:
    return oracle.folder(shell.folder / "target") == oracle.folder(shell.folder / "source")


def only_whole(shell: Shell) -> None:
    """Each file of the target is one of the source, or looks so different that the next run does it again."""
    wanted = oracle.folder(shell.folder / "source")
    for path, item in oracle.folder(shell.folder / "target").items():
        if item[0] == "file" and path in wanted and item[3:] == wanted[path][3:]:
            assert item == wanted[path], path


@needs_mounts
@pytest.mark.parametrize("state", [(), ("--state", "state.db")])
def test_a_full_target_ends_the_run_with_that_code_and_room_lets_it_go_on(small, shell, state):
    target = small("target")

    failed = copied(shell, *state, code=Exit.RUN_FAILED)

    assert failed.data["code"] == "AZSM1040"
    assert "space" in failed.err
    assert CODES["AZSM1040"].remedy in failed.err
    only_whole(shell)
    remount(target, "size=64m")
    again = copied(shell, *state)
    assert again.data["status"] == "Succeeded"
    assert again.data["items"]["Scanned"] == FILES + 5
    assert equal(shell)
    assert not [name for name in os.listdir(target) if name.startswith(".wherry")]


@needs_mounts
def test_a_full_target_keeps_the_version_that_it_had(small, shell):
    target = small("target", "size=6m,mode=700")
    (target / "large").write_bytes(b"before")

    copied(shell, code=Exit.RUN_FAILED)

    assert (target / "large").read_bytes() == b"before"
    only_whole(shell)


@needs_mounts
def test_a_target_without_inodes_is_full(small, shell):
    small("target", "size=64m,nr_inodes=20,mode=700")

    assert copied(shell, code=Exit.RUN_FAILED).data["code"] == "AZSM1040"
    only_whole(shell)


@needs_mounts
def test_a_target_that_may_only_be_read_ends_the_run_at_once(small, shell):
    target = small("target", "size=64m,mode=700")
    remount(target, "ro")

    failed = copied(shell, "--log", "log.jsonl", code=Exit.RUN_FAILED)

    assert failed.data["code"] == "AZSM1021"
    assert "may only be read" in failed.err
    assert CODES["AZSM1021"].remedy in failed.err
    assert rows(shell.folder / "log.jsonl") == []
    remount(target, "rw")
    copied(shell)
    assert equal(shell)


def rows(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


@needs_mounts
def test_a_full_log_ends_the_copy_and_room_lets_it_go_on(small, shell):
    """No item stays untold: what the first log has not, the next one has."""
    place = small("logs", "size=4k,mode=700")
    options = ("--state", "state.db", "--log", "logs/log.jsonl")

    failed = copied(shell, *options, code=Exit.ERROR)

    assert "logs/log.jsonl" in failed.err
    assert "No space left" in failed.err
    told = rows(place / "log.jsonl")
    remount(place, "size=1m")
    assert copied(shell, *options).data["items"]["Transferred"] == FILES + 5
    assert equal(shell)
    told += rows(place / "log.jsonl")
    assert {row["itemPath"].encode() for row in told} == set(oracle.folder(shell.folder / "source"))


def test_a_log_on_a_device_without_room_ends_the_copy(shell):
    failed = copied(shell, "--log", "/dev/full", code=Exit.ERROR)

    assert "/dev/full" in failed.err
    assert "No space left" in failed.err


@needs_mounts
def test_a_full_state_ends_the_copy_and_room_lets_it_go_on(small, shell):
    place = small("states", "size=40k,mode=700")

    failed = copied(shell, "--state", "states/state.db", code=Exit.ERROR)

    assert "state" in failed.err
    remount(place, "size=16m")
    again = copied(shell, "--state", "states/state.db")
    assert again.data["items"]["Scanned"] == FILES + 5
    assert equal(shell)


@needs_mounts
def test_a_state_that_may_only_be_read_is_named_before_anything_is_copied(small, shell):
    place = small("states", "size=1m,mode=700")
    remount(place, "ro")

    failed = shell.process(
        "copy",
        "source",
        "target",
        "--workers",
        "1",
        "--quiet",
        "--state",
        "states/state.db",
        code=Exit.ERROR,
    )

    assert "states/state.db" in failed.err
    assert not (shell.folder / "target").exists() or not os.listdir(shell.folder / "target")


@needs_mounts
@pytest.mark.parametrize("name", ["log.jsonl", "log.tsv"])
def test_a_log_that_may_not_be_written_is_named_before_anything_is_copied(small, shell, name):
    place = small("logs", "size=1m,mode=700")
    remount(place, "ro")

    failed = copied(shell, "--log", f"logs/{name}", code=Exit.ERROR)

    assert f"logs/{name}" in failed.err
    assert not (shell.folder / "target").exists() or not os.listdir(shell.folder / "target")
