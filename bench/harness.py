"""Rounds: every program once in each, in an order that moves on by one, so that drift of the machine meets all alike.

A copy has a new target and a warm source; the time runs from the start of the process until what it wrote is durable.
A first round is not counted: it warms the caches, and in it every byte of every copy is compared, by sinks that hash
what they get. In counted rounds names, sizes, metadata and a sample of the bytes are compared.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import comparison, machine, meter, oddities, sink, trees
from bench.comparison import WrongCopy
from bench.programs import Errand, Flags, Program
from bench.sinks import certificate
from bench.trees import Tree
from bench.workloads import Workload

GIB = 1024**3


class NoRoom(Exception):
    """The trees of a workload do not fit where they are to be made."""


@dataclass
class Entrant:
    """A program in one workload: the variant that it competes with, and what was seen of it."""

    program: Program
    variant: Flags
    tried: list[tuple[Flags, float]] = field(default_factory=list)
    runs: list[dict[str, Any] | None] = field(default_factory=list)
    lacking: Counter[str] = field(default_factory=Counter)
    out: str = ""

    def told(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "variant": self.variant, "tried": self.tried, "runs": self.runs, "lacking": dict(self.lacking),
            "out": self.out, "note": self.program.note,
        }  # fmt: skip


class Course:
    """The place where one workload is run: its source tree, and room for targets."""

    def __init__(self, workload: Workload, scale: float, scratch: Path) -> None:
        needed = workload.size * scale * 1.1
        if machine.room(scratch) < needed:
            raise NoRoom(
                f"{scratch} has no room for {needed / GIB:.1f} GiB; give another --scratch, or "
                "a smaller --scale"
            )
        self.workload = workload
        self.folder = scratch
        self.source, self.target, self.logs = scratch / "source", scratch / "target", scratch / "logs"
        self.trust = certificate.make(scratch)
        self.source.mkdir()
        self.tree = self._make(self.source, scale)
        if workload.kind == "rescan":
            self.target.mkdir()
            self._make(self.target, scale)

    def _make(self, root: Path, scale: float) -> Tree:
        if self.workload.kind == "fidelity":
            return oddities.make(root)
        return trees.make(root, self.workload.shape(scale), self.workload.hollow)

    def run(
        self, program: Program, variant: Flags, checked: bool, compared: bool = True
    ) -> tuple[dict[str, Any], Counter[str]]:
        """One measured run. `checked`: compare every byte; `compared` False: only the exit code counts."""
        self._clear()
        load = os.getloadavg()[0]
        idle = self.workload.kind == "rescan" and not self.workload.changed
        before = comparison.untouched(self.target) if idle and checked else ""
        with self.sink(checked) as taking:
            errand = Errand(self.source, self.target, self.logs, self.trust.authority, taking)
            usage, durable = self._measure(program, variant, errand)
        if usage.code:
            raise WrongCopy(f"it ended with {usage.code}: {usage.said[-500:]}")
        told = {**asdict(usage), "wall": usage.wall + durable, "load": load}
        del told["said"]
        lacking: Counter[str] = Counter()
        if taking:
            told["sink"] = taking.report
            if compared:
                comparison.compare_objects(self.source, taking.report, taking.objects, taking.prefix)
        elif compared and (self.workload.kind == "copy" or self.workload.changed):
            lacking = comparison.compare(self.source, self.target, whole=checked)
        elif self.workload.kind == "fidelity":
            told["kept"], told["facets"], lacking = oddities.kept(self.source, self.target)
        elif before and comparison.untouched(self.target) != before:
            lacking["restraint: it wrote to the target although nothing had changed"] += 1
        return told, lacking

    def _measure(self, program: Program, variant: Flags, errand: Errand) -> tuple[meter.Usage, float]:
        try:
            usage = meter.run(program.command(errand, variant), self.logs, program.environment(errand))
        except OSError as error:
            raise WrongCopy(f"it cannot be started: {error}") from error
        if errand.sink:
            return usage, 0.0
        begun = time.perf_counter()
        subprocess.run(["sync", "-f", str(self.folder)], check=True)
        return usage, time.perf_counter() - begun

    @contextmanager
    def sink(self, checked: bool) -> Iterator[sink.Sink | None]:
        """The sink of this workload while a block runs, if it goes to one."""
        workload = self.workload
        if not workload.sink:
            yield None
            return
        trust = self.trust if workload.secure else None
        with sink.running(workload.sink, self.folder, trust, workload.latency, checked) as taking:
            yield taking

    def _clear(self) -> None:
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir()
        if self.workload.kind in ("copy", "fidelity"):
            shutil.rmtree(self.target, ignore_errors=True)
            if not self.workload.sink:
                self.target.mkdir()
        if self.workload.changed:
            self._change()

    def _change(self) -> None:
        """Give some files of the target another time, so that they have to be copied again."""
        files = (item for item in comparison.walk(str(self.target)) if item.kind == "-")
        for item in itertools.islice(files, 0, None, self.workload.changed):
            os.utime(self.target / item.path, ns=(0, 0))


def compete(course: Course, rounds: int, only: frozenset[str], say: Any) -> list[Entrant]:
    """All rounds of one workload. A peer that fails is out, and it is told why."""
    entrants = [
        Entrant(program, program.variants[0])
        for program in course.workload.programs
        if program.is_here() and (not only or program.name in only)
    ]
    for entrant in entrants:
        choose(course, entrant, say)
    for number in range(rounds + 1):
        first = number % len(entrants)
        for entrant in entrants[first:] + entrants[:first]:
            if not entrant.out:
                _take_part(course, entrant, number, say)
            elif number:
                entrant.runs.append(None)
    return entrants


def choose(course: Course, entrant: Entrant, say: Any) -> None:
    """Try each variant of a program once and keep the fastest."""
    if len(entrant.program.variants) < 2:
        return
    for variant in entrant.program.variants:
        try:
            told, _ = course.run(entrant.program, variant, checked=False, compared=False)
        except WrongCopy as wrong:
            say(f"  {entrant.program.name} {' '.join(variant)}: {wrong}")
            continue
        entrant.tried.append((variant, told["wall"]))
    if not entrant.tried:
        entrant.out = "no variant of it worked"
        return
    entrant.variant = min(entrant.tried, key=lambda tried: tried[1])[0]
    say(f"  {entrant.program.name}: best with {' '.join(entrant.variant)}")


def _take_part(course: Course, entrant: Entrant, number: int, say: Any) -> None:
    try:
        told, lacking = course.run(entrant.program, entrant.variant, checked=number == 0)
    except WrongCopy as wrong:
        entrant.out = str(wrong)
        say(f"  {entrant.program.name}: OUT: {wrong}")
        if number:
            entrant.runs.append(None)
        return
    entrant.lacking |= lacking
    memory = told["memory"] / 2**20
    say(
        f"  round {number} {entrant.program.name:<20} {told['wall']:8.3f} s  CPU "
        f"{told['user'] + told['system']:8.3f} s  {memory:6.0f} MiB"
    )
    if number:
        entrant.runs.append(told)
