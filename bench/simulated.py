"""Memory with ten million items, without ten million files: runs of `bench.made_up`, measured like any other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench import machine, meter, peers, results
from bench.comparison import WrongCopy
from bench.made_up import SOURCE, TARGET, made_up
from bench.workloads import Workload


def measure(
    workload: Workload, scale: float, scratch: Path, folder: Path, say: Callable[[str], None]
) -> Path:
    """One run for each number of items; the last, largest one counts, and its growth against the first."""
    runs = []
    for items in workload.sizes:
        wanted = int(items * scale)
        log, source, target = scratch / "log.jsonl", scratch / f"{SOURCE}{wanted}", scratch / TARGET
        for folder_of_a_name in (source, target):
            folder_of_a_name.mkdir(exist_ok=True)
        words = [str(source), str(target), str(log)]
        environment = {"PYTHONPATH": str(machine.ROOT)}
        usage = meter.run([sys.executable, "-m", "bench.made_up", *words], scratch, environment)
        if usage.code:
            raise WrongCopy(f"it ended with {usage.code}: {usage.said}")
        rows, there = _rows(log), made_up(wanted)
        if rows < there:
            raise WrongCopy(f"the log has {rows} rows for {there} items")
        runs.append(asdict(usage))
        say(
            f"  {wanted:,} items: {usage.wall:.1f} s, {usage.memory / 2**20:.0f} MiB, {rows:,} rows of the log"
        )
        log.unlink()
    told = {
        "workload": workload.name, "scale": scale, "rounds": 1,
        "tree": {"files": int(workload.sizes[-1] * scale), "folders": 0, "size": 0},
        "machine": machine.describe(scratch), "versions": peers.versions(),
        "growth": runs[-1]["memory"] / runs[0]["memory"], "first": runs[0],
        "programs": {
            results.WHERRY: {
                "runs": runs[-1:], "variant": [], "tried": [], "lacking": {}, "out": "", "note": "",
                "command": "wherry copy made-up-10000000 nothing --log log.jsonl --quiet",
            }
        },
    }  # fmt: skip
    return results.write(folder, workload.name, told)


def _rows(log: Path) -> int:
    with log.open("rb") as lines:
        return sum(piece.count(b"\n") for piece in iter(lambda: lines.read(1 << 20), b""))
