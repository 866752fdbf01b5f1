"""Results of one workload as a file, and what is reckoned from them: medians, ratios, verdicts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine, peers
from bench.figures import MIB, Asked, Spread, Verdict, ratios
from bench.harness import Course, Entrant
from bench.programs import shown
from bench.workloads import BY_NAME, Workload

FOLDER = machine.ROOT / "bench" / "results"
WHERRY = "wherry"


@dataclass(frozen=True)
class Line:
    """One program in one workload, reckoned."""

    name: str
    wall: Spread
    processor: float
    per_item: float
    memory: float
    resident: float
    rate: float
    bytes_rate: float
    ratio: Spread | None
    processor_ratio: float | None
    out: str = ""


@dataclass(frozen=True)
class Judged:
    """One figure beside what is asked of it."""

    asked: Asked
    figure: float | None
    spread: Spread | None
    verdict: Verdict


def save(folder: Path, course: Course, scale: float, rounds: int, entrants: list[Entrant]) -> Path:
    """Write the results of one workload."""
    workload = course.workload
    told = {
        "workload": workload.name,
        "scale": scale,
        "rounds": rounds,
        "ended": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "tree": {"files": course.tree.files, "folders": course.tree.folders, "size": course.tree.size},
        "machine": machine.describe(course.folder),
        "versions": peers.versions(),
        "programs": {
            entrant.program.name: {**entrant.told(), "command": shown(entrant.program, entrant.variant)}
            for entrant in entrants
        },
    }
    return write(folder, workload.name, told)


def write(folder: Path, name: str, told: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    file.write_text(json.dumps(told, indent=1))
    return file


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """All results of a folder, by workload or other name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}


def lines(told: dict[str, Any]) -> list[Line]:
    """The programs of a workload, ours first."""
    tree = told["tree"]
    items = tree["files"] + tree["folders"]
    own = told["programs"].get(WHERRY, {"runs": [None] * told["rounds"]})["runs"]
    found = []
    for name, entrant in told["programs"].items():
        runs = [run for run in entrant["runs"] if run]
        if not runs:
            nothing = Spread(0, 0, 0)
            found.append(Line(name, nothing, 0, 0, 0, 0, 0, 0, None, None, entrant["out"] or "no run"))
            continue
        wall = Spread.of([run["wall"] for run in runs])
        processor = Spread.of([run["user"] + run["system"] for run in runs]).median
        spent = ratios(_processor(own), _processor(entrant["runs"])) if name != WHERRY else []
        against = ratios(_walls(own), _walls(entrant["runs"])) if name != WHERRY else []
        found.append(
            Line(
                name,
                wall,
                processor,
                processor / items * 1e6,
                Spread.of([run["memory"] for run in runs]).high / MIB,
                Spread.of([run["resident"] for run in runs]).high / MIB,
                items / wall.median,
                tree["size"] / wall.median,
                Spread.of(against) if against else None,
                Spread.of(spent).median if spent else None,
                entrant["out"],
            )
        )
    return found


def _processor(runs: list[dict[str, Any] | None]) -> list[float | None]:
    return [run["user"] + run["system"] if run else None for run in runs]


def _walls(runs: list[dict[str, Any] | None]) -> list[float | None]:
    return [run["wall"] if run else None for run in runs]


def judged(told: dict[str, Any]) -> list[Judged]:
    """What is asked of Wherry in a workload, and what it is."""
    workload: Workload = BY_NAME[told["workload"]]
    reckoned = {line.name: line for line in lines(told)}
    answers = []
    for asked in workload.asked:
        figure, spread = _figure(asked, told, reckoned)
        answers.append(Judged(asked, figure, spread, asked.verdict(figure)))
    return answers


def _figure(
    asked: Asked, told: dict[str, Any], reckoned: dict[str, Line]
) -> tuple[float | None, Spread | None]:
    own = reckoned.get(WHERRY)
    if own is None or not own.wall.median:
        return None, None
    if asked.against:
        other = reckoned.get(asked.against)
        spread = other.ratio if other else None
        return (spread.median if spread else None), spread
    if asked.unit == "MiB":
        return own.memory, None
    if asked.unit == "growth":
        return told.get("growth"), None
    amount = {"GB": told["tree"]["size"] / 1e9, "puts": told["tree"]["files"]}.get(
        asked.unit, own.rate * own.wall.median
    )
    return amount / own.wall.median, Spread(
        amount / own.wall.median, amount / own.wall.high, amount / own.wall.low
    )
