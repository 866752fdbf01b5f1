"""What `python -m bench` says and writes besides measuring."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench import command, page, results
from bench.workloads import ALL


def quick_results(folder: Path) -> None:
    run = {
        "wall": 1.0,
        "user": 0.5,
        "system": 0.5,
        "memory": 2**20,
        "resident": 2**20,
        "kept": 1,
        "facets": 1,
    }
    entrant = {"runs": [run], "command": "wherry", "lacking": {}, "out": "", "note": ""}
    for workload in ALL:
        told: dict[str, Any] = {
            "workload": workload.name, "scale": command.QUICK_SCALE, "rounds": command.QUICK_ROUNDS,
            "tree": {"files": 9, "folders": 1, "size": 10}, "machine": {"processor": "one"}, "versions": {},
            "programs": {"wherry": entrant},
        }  # fmt: skip
        if workload.kind == "simulated":
            told |= {"growth": 1.0, "first": run}
        results.write(folder, workload.name, told)


def test_the_plan_names_every_row_of_the_page_and_is_done_within_an_hour(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["plan"]) == 0

    said = capsys.readouterr().out
    for workload in ALL:
        assert (workload.title in said) == workload.on_page
    *parts, whole = (float(minutes) for minutes in re.findall(r"^ *([\d.]+) min", said, re.MULTILINE))
    assert whole == pytest.approx(sum(parts), abs=1)
    assert whole < 60


def test_the_page_of_a_quick_run_lies_with_its_results_and_judges_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(page, "FILE", tmp_path / "documentation" / "benchmarks.md")
    quick_results(tmp_path / "one")

    assert command._page("one", quick=True) == 0

    text = (tmp_path / "one" / "benchmarks.md").read_text()
    for workload in ALL:
        for asked in workload.asked if workload.on_page else ():
            row = re.search(
                rf"\| {re.escape(workload.title)} \| {re.escape(asked.name)} \|.*\| (\S+) \|\n", text
            )
            assert row is not None
            assert row[1] in {"✔✔", "✔", "✘", "·", "-"}


def test_a_quick_run_makes_no_page_of_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(page, "FILE", tmp_path / "documentation" / "benchmarks.md")
    quick_results(tmp_path / "one")

    assert command.main(["page", "one"]) == 1

    assert "scale 0.01" in capsys.readouterr().err
    assert not page.FILE.exists()


def test_results_are_kept_as_they_are(tmp_path: Path) -> None:
    quick_results(tmp_path)

    assert set(results.load(tmp_path)) == {workload.name for workload in ALL}
    assert json.loads((tmp_path / "small.json").read_text())["workload"] == "small"
