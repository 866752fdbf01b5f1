"""What a copy writes down besides its log, and what it tells of a dry run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Answer
from wherry import __version__
from wherry.cli.copy_live import Observed
from wherry.cli.copy_run import LOSSES
from wherry.cli.exits import Exit
from wherry.model import losses
from wherry.model.entry import Entry, Kind
from wherry.model.names import NameRules
from wherry.model.options import Preserve
from wherry.model.outcomes import Counters, Outcome, Row
from wherry.model.plan import Holds
from wherry.model.run import End, RunStatus

Program = Callable[..., Answer]


def test_a_report_tells_what_was_asked_and_what_came_of_it(
    source: Path, tmp_path: Path, wherry: Program
) -> None:
    file = tmp_path / "report.json"
    options = ("--exclude", "*.tmp", "--min-size", "1", "--workers", "0", "--report", str(file))

    answer = wherry("copy", str(source), str(tmp_path / "target"), *options)

    report = json.loads(file.read_text())
    assert report["asked"] == {
        "source": str(source), "target": str(tmp_path / "target"), "workers": 0,
        "options": {"exclude": ["*.tmp"], "minSize": 1},
    }  # fmt: skip
    assert {name: report[name] for name in answer.data} == answer.data
    assert (report["exitCode"], report["wherry"]) == (0, __version__)
    assert report["started"] <= report["ended"]
    assert {one["code"]: one["count"] for one in report["codes"]} == {"AZSM0000": 4, "AZSM2001": 1}
    assert all(one["message"] and one["remedy"] for one in report["codes"])
    assert report["rates"]["itemsPerSecond"] > 0
    assert [one.name for one in tmp_path.glob(".report*")] == []


def test_an_earlier_report_tells_how_much_will_come(
    source: Path, tmp_path: Path, wherry: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.json"
    command = ("copy", str(source), str(tmp_path / "target"), "--workers", "0", "--report", str(file))
    expected: list[tuple[int, int]] = []

    class Noted(Observed):
        def __init__(self, foretold: tuple[int, int], bandwidth: int | None, requests: int | None) -> None:
            expected.append(foretold)
            super().__init__(foretold, bandwidth, requests)

    monkeypatch.setattr("wherry.cli.copy_run.Observed", Noted)
    for word in ("", "no report", "[1]"):
        file.write_text(word)
        wherry(*command)
    wherry(*command)
    wherry(*command, "--exclude", "*.tmp")

    assert expected == [(0, 0)] * 3 + [(5, 5004)] + [(0, 0)]


def test_nothing_is_copied_when_report_or_log_cannot_be_written(
    source: Path, tmp_path: Path, wherry: Program
) -> None:
    for option in ("--report", "--log"):
        answer = wherry("copy", str(source), str(tmp_path / "target"), option, str(tmp_path / "no" / "file"))

        assert answer.code == Exit.ERROR
        assert "No such file or directory" in answer.err
        assert not (tmp_path / "target").exists()


def test_a_dry_run_says_what_would_be_done_and_what_is_lost(
    source: Path, tmp_path: Path, wherry: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wherry.engine import copy as engine

    counters = Counters({"Scanned": 5, "Transferred": 4, "Excluded": 1}, {"Transferred": 2048})
    report = engine.Report(counters, End(RunStatus.SUCCEEDED), 1.0, losses={"owner": 4, "xattrs": 1})
    monkeypatch.setattr(engine, "copy", lambda *_, **__: report)

    answer = wherry("copy", str(source), str(tmp_path / "target"), "--dry-run", "--exclude", "*.tmp")

    assert answer.data["dryRun"] is True
    assert answer.data["losses"] == {"owner": 4, "xattrs": 1}
    assert answer.err.splitlines() == [
        "Nothing was changed. Of 5 items would be: 4 copied (2.0 KiB), 1 left out by filters.",
        "The target cannot hold their owner and group: 4 items.",
        "The target cannot hold extended attributes: 1 item.",
    ]


def test_each_loss_has_its_words() -> None:
    entry = Entry(b"x", Kind.FILE, 1, modified=5, mode=0o644, uid=1, gid=1, links=2)
    poor = Holds(NameRules(), precision=10, mode=False, owner=False, hard_links=False)
    attributes = ((b"system.posix_acl_access", b""), (b"user.x", b""))
    words = set(losses.of(entry, poor, tuple(Preserve), attributes))
    for code, kind in (
        ("AZSM2022", Kind.FILE),
        ("AZSM2026", Kind.FILE),
        ("AZSM2021", Kind.LINK),
        ("AZSM2021", Kind.SPECIAL),
    ):
        words |= set(losses.told(Row(0.0, kind, Outcome.UNSUPPORTED, code, 0, b"x")))

    assert words == set(LOSSES)
