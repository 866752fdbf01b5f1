"""`wherry copy` as a program: places, logs, exit codes, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Answer
from wherry.cli.exits import Exit
from wherry.model.outcomes import Counters
from wherry.model.run import End, RunStatus

Program = Callable[..., Answer]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "one.txt").write_bytes(b"one")
    (folder / "deep" / "two.bin").write_bytes(b"2" * 5000)
    (folder / "skip.tmp").write_bytes(b"x")
    return folder


def copied(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_tree_is_copied_and_a_second_copy_transfers_nothing(
    source: Path, tmp_path: Path, wherry: Program
) -> None:
    first = wherry("copy", str(source), str(tmp_path / "target"), "--workers", "0")
    second = wherry("copy", str(source), str(tmp_path / "target"), "--workers", "0")

    assert (first.code, second.code) == (0, 0)
    assert copied(tmp_path / "target") == copied(source)
    assert first.data["items"] == {"Scanned": 5, "Transferred": 5}
    assert second.data["items"] == {"Scanned": 5, "NoTransferNeeded": 5}


def test_options_are_those_of_a_job(source: Path, tmp_path: Path, wherry: Program) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "extra").touch()

    answer = wherry(
        "copy", str(source), str(target), "--mode", "mirror", "--exclude", "*.tmp", "--workers", "0",
    )  # fmt: skip

    assert answer.code == 0
    assert set(copied(target)) == {"deep", "deep/two.bin", "empty", "one.txt"}
    assert answer.data["items"]["Deleted"] == 1


def test_a_dry_run_makes_nothing(source: Path, tmp_path: Path, wherry: Program) -> None:
    target = tmp_path / "target"
    target.mkdir()

    answer = wherry("copy", str(source), str(target), "--dry-run", "--workers", "0")

    assert answer.code == 0
    assert copied(target) == {}


def test_the_log_has_a_row_an_item(source: Path, tmp_path: Path, wherry: Program) -> None:
    (source / "new\nline\x1b").touch()
    for name in ("log.jsonl", "log.tsv"):
        answer = wherry(
            "copy", str(source), str(tmp_path / f"to-{name}"), "--log", str(tmp_path / name), "--workers", "0"
        )
        assert answer.code == 0

    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {row["itemPath"]: row["transferResult"] for row in rows} == dict.fromkeys(
        ["deep", "deep/two.bin", "empty", "one.txt", "skip.tmp", r"new\x0aline\x1b"], "Transferred"
    )
    lines = [line.split("\t") for line in (tmp_path / "log.tsv").read_text().splitlines()]
    assert sorted(line[5] for line in lines) == sorted(row["itemPath"] for row in rows)
    assert {tuple(line[1:3]) for line in lines} == {("Transferred", "AZSM0000")}


def test_a_finished_copy_with_a_state_goes_on_from_there(
    source: Path, tmp_path: Path, wherry: Program
) -> None:
    state = ("--state", str(tmp_path / "state.db"), "--workers", "0")
    assert wherry("copy", str(source), str(tmp_path / "target"), *state).data["resumed"] is False

    assert wherry("copy", str(source), str(tmp_path / "target"), *state).data["resumed"] is True

    other = wherry("copy", str(source), str(tmp_path / "elsewhere"), *state)
    assert other.code == 2
    assert "another copy" in other.err


def test_a_source_that_is_not_there_makes_nothing(tmp_path: Path, wherry: Program) -> None:
    answer = wherry("copy", str(tmp_path / "missing"), str(tmp_path / "target"))

    assert answer.code == 11
    assert answer.err.startswith("AZSM1001: ")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("below", [("", "deep"), ("deep", ""), ("", "")])
def test_places_that_contain_one_another_are_refused(
    source: Path, below: tuple[str, str], wherry: Program
) -> None:
    before = copied(source)

    answer = wherry("copy", str(source / below[0]), str(source / below[1]))

    assert answer.code == 11
    assert answer.err.startswith("AZSM1033: ")
    assert copied(source) == before


def test_a_link_hides_no_place(source: Path, tmp_path: Path, wherry: Program) -> None:
    (tmp_path / "elsewhere").symlink_to(source)

    assert wherry("copy", str(source), str(tmp_path / "elsewhere" / "deep")).code == 11


def test_the_same_container_twice_is_refused(wherry: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_BLOB_SAS", "si=x&sig=y")

    answer = wherry("copy", "blob:https://host/container", "blob:https://host/Container/")

    assert answer.code == 11
    assert answer.err.startswith("AZSM1033: ")


def test_failed_items_end_with_10_and_all_is_told(
    source: Path, tmp_path: Path, wherry: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wherry.engine import copy as engine

    counters = Counters({"Scanned": 2, "Failed": 1, "Transferred": 1}, {})
    end = End(RunStatus.FAILED, "AZSM1046", "1 item failed, the rest is copied.")
    monkeypatch.setattr(engine, "copy", lambda *_, **__: engine.Report(counters, end, 1.0))

    answer = wherry("copy", str(source), str(tmp_path / "target"))

    assert answer.code == Exit.ITEMS_FAILED
    assert answer.data["items"]["Failed"] == 1
    assert answer.err.splitlines()[0] == "AZSM1046: 1 item failed, the rest is copied."
