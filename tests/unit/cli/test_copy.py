"""`wherry copy` as a program: places, logs, exit codes, what it refuses."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Answer
from wherry.cli.exits import Exit
from wherry.model.outcomes import Counters
from wherry.model.run import End, RunStatus

Program = Callable[..., Answer]


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


def test_a_state_is_of_one_copy_and_begins_anew_when_that_is_finished(
    source: Path, tmp_path: Path, wherry: Program
) -> None:
    state = ("--state", str(tmp_path / "state.db"), "--workers", "0")
    assert wherry("copy", str(source), str(tmp_path / "target"), *state).data["resumed"] is False

    again = wherry("copy", str(source), str(tmp_path / "target"), *state).data
    assert again["resumed"] is False
    assert again["items"] == {
        "Scanned": again["items"]["Scanned"],
        "NoTransferNeeded": again["items"]["Scanned"],
    }

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


def test_a_manifest_narrows_the_source(source: Path, tmp_path: Path, wherry: Program) -> None:
    (tmp_path / "list").write_bytes(b"./deep/\0one.txt\0")

    answer = wherry(
        "copy", str(source), str(tmp_path / "target"), "--manifest", str(tmp_path / "list"), "--workers", "0"
    )

    assert answer.code == 0
    assert set(copied(tmp_path / "target")) == {"deep", "deep/two.bin", "one.txt"}
    assert list(tmp_path.glob("wherry-manifest-*")) == []


def test_a_manifest_may_come_by_standard_input(
    source: Path, tmp_path: Path, wherry: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one.txt\ngone\n")))

    answer = wherry("copy", str(source), str(tmp_path / "target"), "--manifest", "-", "--workers", "0")

    assert answer.code == Exit.ITEMS_FAILED
    assert answer.data["items"] == {"Scanned": 2, "Transferred": 1, "Failed": 1}


@pytest.mark.parametrize(
    ("lines", "more", "told"),
    [
        ("one.txt", ("--mode", "mirror"), "leave out --manifest, or copy additively"),
        ("one.txt\n../out", (), "line 2: '../out'"),
        ("", (), "names no paths"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    lines: str, more: tuple[str, ...], told: str, source: Path, tmp_path: Path, wherry: Program
) -> None:
    (tmp_path / "list").write_text(lines)

    answer = wherry(
        "copy", str(source), str(tmp_path / "target"), "--manifest", str(tmp_path / "list"), *more
    )

    assert answer.code == Exit.USAGE
    assert told in answer.err
    assert not (tmp_path / "target").exists()


def test_a_state_goes_with_its_manifest(source: Path, tmp_path: Path, wherry: Program) -> None:
    base = (
        "copy",
        str(source),
        str(tmp_path / "target"),
        "--state",
        str(tmp_path / "state"),
        "--workers",
        "0",
    )
    (tmp_path / "list").write_text("one.txt")
    (tmp_path / "other").write_text("deep/")
    assert wherry(*base, "--manifest", str(tmp_path / "list")).code == 0

    assert wherry(*base, "--manifest", str(tmp_path / "list")).code == 0
    assert "another manifest" in wherry(*base, "--manifest", str(tmp_path / "other")).err
    assert "give it again" in wherry(*base).err

    plain = (*base[:3], "--state", str(tmp_path / "plain"), "--workers", "0")
    assert wherry(*plain).code == 0
    assert "one without a manifest" in wherry(*plain, "--manifest", str(tmp_path / "list")).err


def test_an_age_needs_no_state(source: Path, tmp_path: Path, wherry: Program) -> None:
    state = ("--state", str(tmp_path / "state"), "--newer-than", "7d")

    answer = wherry("copy", str(source), str(tmp_path / "target"), *state)

    assert answer.code == Exit.USAGE
    assert "need a date" in answer.err


def test_progress_is_told(
    source: Path, tmp_path: Path, wherry: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wherry.engine import copy as engine
    from wherry.engine.lease import Effort

    monkeypatch.setattr("wherry.cli.live.LINE_SECONDS", 0.0)

    def copy(*_: object, progress: Callable[[engine.Live], None], **__: object) -> engine.Report:
        counters = Counters({"Scanned": 1200, "Transferred": 1000}, {"Transferred": 2**20})
        progress(engine.Live.of(counters, [Effort(items=1000, bytes=2**20)], scanning=True))
        return engine.Report(counters, End(RunStatus.SUCCEEDED), 1.0)

    monkeypatch.setattr(engine, "copy", copy)

    quiet = wherry("copy", str(source), str(tmp_path / "target"), "-q")
    told = wherry("copy", str(source), str(tmp_path / "target"))

    assert quiet.err == ""
    assert (
        told.err == "copy: Running, 1,200 items scanned, 1,000 done (1.0 MiB), 1,000 transferred (1.0 MiB)\n"
    )


def test_what_is_not_plain_is_read_by_typer_with_the_same_answer(
    source: Path, tmp_path: Path, wherry: Program
) -> None:
    answer = wherry("copy", "--workers", "0", "--", str(source), str(tmp_path / "target"))

    assert answer.code == 0
    assert answer.data["items"] == {"Scanned": 5, "Transferred": 5}
    assert wherry("copy", str(source), "--workers", "-1").code == Exit.USAGE


def test_filters_narrow_the_source(source: Path, tmp_path: Path, wherry: Program) -> None:
    os.utime(source / "one.txt", (1, 1))

    for number, (options, left) in enumerate(
        [
            (("--exclude", "/deep/"), {"empty", "one.txt", "skip.tmp"}),
            (("--include", "*.TXT", "--ignore-case"), {"deep", "empty", "one.txt"}),
            (("--include", "deep/"), {"deep", "deep/two.bin", "empty"}),
            (("--max-size", "3", "--exclude", "*", "--exclude", "!one.*"), {"one.txt"}),
            (("--min-size", "4K"), {"deep", "deep/two.bin", "empty"}),
            (("--older-than", "1d"), {"deep", "empty", "one.txt"}),
            (("--newer-than", "1970-01-02"), {"deep", "deep/two.bin", "empty", "skip.tmp"}),
        ]
    ):
        target = tmp_path / f"target-{number}"
        answer = wherry("copy", str(source), str(target), "--workers", "0", *options)
        assert (answer.code, set(copied(target))) == (0, left), options
        assert (
            sum(n for name, n in answer.data["items"].items() if name != "Scanned")
            == answer.data["items"]["Scanned"]
        )


def test_an_interruption_before_anything_is_copied(
    source: Path, tmp_path: Path, wherry: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wherry.cli.copy_run._probe", interrupt)

    answer = wherry("copy", str(source), str(tmp_path / "target"))

    assert (answer.code, answer.out, answer.err) == (Exit.INTERRUPTED, "", "")


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
