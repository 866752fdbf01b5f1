from __future__ import annotations

from typing import Any

import pytest

from bench import page, results
from bench.figures import Verdict
from bench.workloads import BY_NAME, Workload


def run(wall: float, memory: float = 100) -> dict[str, Any]:
    return {"wall": wall, "user": wall, "system": 0.5, "memory": memory * 2**20, "resident": memory * 2**20}


def entrant(*walls: float | None, out: str = "", lacking: dict[str, int] | None = None) -> dict[str, Any]:
    return {
        "runs": [None if wall is None else run(wall) for wall in walls],
        "command": "program SRC DST",
        "lacking": lacking or {},
        "out": out,
        "note": "",
    }


def measured(name: str = "small", rounds: int = 3, **programs: dict[str, Any]) -> dict[str, Any]:
    return {
        "workload": name,
        "scale": 1.0,
        "rounds": rounds,
        "tree": {"files": 990, "folders": 10, "size": 4_000_000},
        "machine": {"processor": "one", "commit": "abc"},
        "versions": {"rsync": "3.5.0"},
        "programs": {key.replace("_", " "): value for key, value in programs.items()},
    }


def test_lines_are_medians_and_ratios_of_the_same_round() -> None:
    told = measured(wherry=entrant(1.0, 2.0, 4.0), cp_=entrant(3.0, 4.0, 6.0))
    told["programs"]["cp -a"] = told["programs"].pop("cp ")

    own, other = results.lines(told)

    assert (own.wall.median, own.rate, own.per_item, own.memory) == (2.0, 500.0, 2500.0, 100.0)
    assert other.ratio is not None
    assert (other.ratio.median, other.ratio.low, other.ratio.high) == (2.0, 1.5, 3.0)


def test_a_peer_that_failed_is_told_and_not_judged() -> None:
    told = measured(wherry=entrant(1.0, 1.0, 1.0))
    told["programs"]["rsync -a"] = entrant(None, None, None, out="it ended with 23: no|pipes\nhere")

    assert "| rsync -a | left out: it ended with 23: no/pipes here |" in page.section(told)
    verdicts = {one.asked.against: one.verdict for one in results.judged(told)}
    assert verdicts["rsync -a"] is Verdict.UNKNOWN


def test_peers_alone_can_be_measured() -> None:
    told = measured(wherry=entrant(1.0, 1.0, 1.0))
    told["programs"] = {"rsync -a": entrant(1.0, 2.0, 3.0)}

    assert results.lines(told)[0].ratio is None
    assert {one.verdict for one in results.judged(told)} == {Verdict.UNKNOWN}


def test_a_section_tells_ratio_verdict_and_what_was_not_kept() -> None:
    told = measured(wherry=entrant(1.0, 1.0, 1.0))
    told["programs"]["rsync -a"] = entrant(2.5, 2.4, 2.6, lacking={"folder times": 3})

    text = page.section(told)

    assert "| times as quick as rsync -a | ≥ 2 | ≥ 3 | 2.50 (2.40-2.60) | ✔ reached |" in text
    assert "did not keep: folder times" in text


def test_rates_are_of_the_files_where_puts_are_asked() -> None:
    told = measured("blob", wherry=entrant(0.05, 0.05, 0.05))

    puts = next(one for one in results.judged(told) if one.asked.unit == "puts")

    assert puts.figure == pytest.approx(990 / 0.05)


def test_memory_is_the_highest_of_all_rounds() -> None:
    told = measured("flat", wherry=entrant(1.0, 1.0))
    told["programs"]["wherry"]["runs"].append(run(1.0, 360))

    assert [(one.figure, one.verdict) for one in results.judged(told)] == [(360, Verdict.MISSED)]


def complete() -> tuple[dict[str, dict[str, Any]], list[Workload]]:
    workloads = [BY_NAME["small"], BY_NAME["blob"]]
    return {one.name: measured(one.name, 5, wherry=entrant(*[1.0] * 5)) for one in workloads}, workloads


def test_a_page_is_made_of_a_full_run() -> None:
    found, workloads = complete()
    found["profile-small"] = {"workload": "small", "scale": 0.2, "lines": ["- 12 µs an item"]}
    found["ceiling"] = {
        "sinks": [{"name": "blob, http", "puts": 10, "seconds": 2.0, "client": 1.0, "server": 2.0}]
    }

    text = page.whole(found, workloads, 5)

    assert text.startswith("# Benchmarks\n")
    for expected in (
        "- rsync 3.5.0",
        "| blob, http | 5 | 2.0 | 1.0 |",
        "## Where the rest goes",
        "- 12 µs an item",
    ):
        assert expected in text


def test_a_page_of_a_quick_run_says_what_it_is() -> None:
    found, workloads = complete()
    for told in found.values():
        told |= {"scale": 0.01, "rounds": 1}

    text = page.whole(found, workloads, 1, 0.01)

    assert "at a scale of 0.01: its figures say nothing about speed" in text
    assert "say nothing" not in page.whole(complete()[0], workloads, 5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scale": 0.1}, "scale 0.1"),
        ({"rounds": 4}, "4 rounds"),
        ({"machine": {"processor": "one", "sources": "def"}}, "different machines or sources"),
    ],
)
def test_anything_less_makes_no_page(change: dict[str, Any], reason: str) -> None:
    found, workloads = complete()
    found["blob"] |= change

    with pytest.raises(page.Incomplete, match=reason):
        page.whole(found, workloads, 5)


def test_a_missing_workload_makes_no_page() -> None:
    found, workloads = complete()
    del found["blob"]

    with pytest.raises(page.Incomplete, match="not measured: blob"):
        page.whole(found, workloads, 5)
