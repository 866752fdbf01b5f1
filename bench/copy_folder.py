"""Folder to folder: `wherry copy` against `cp -a` and `rsync -a`, where they are installed.

Each round runs every program once, in an order that moves on by one, so that drift of the machine meets all alike. A
round's target is new, the source has been read before (warm cache), and the time runs from the start of the process
until the data is durable (`syncfs` of the target), as some programs make it durable themselves and others do not.
Each copy is compared with the source by names, kinds, modes, times and bytes before its time counts.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

KIB, MIB = 1024, 1024 * 1024


class WrongCopy(Exception):
    """A program failed, or what it made differs from the source."""


@dataclass(frozen=True)
class Program:
    """A competitor: how it copies what is in a folder into another one that does not exist yet."""

    name: str
    command: Callable[[str, str], list[str]]


@dataclass(frozen=True)
class Sample:
    """One copy: seconds of wall clock, and seconds of processor time of the program and its children."""

    wall: float
    processor: float


def small(scale: float) -> Iterator[int]:
    """Many files of 4 KiB: the rate of files is what counts."""
    yield from (4 * KIB for _ in range(int(20_000 * scale)))


def mixed(scale: float) -> Iterator[int]:
    """Sizes as in an office's share: most under 16 KiB, a few up to 1 MiB."""
    dice = random.Random(2)
    ranges = [(0, KIB), (KIB, 16 * KIB), (16 * KIB, MIB)]
    for _ in range(int(5_000 * scale)):
        low, high = dice.choices(ranges, weights=[21, 62, 17])[0]
        yield dice.randint(low, high)


def large(scale: float) -> Iterator[int]:
    """Four big files: the rate of bytes is what counts."""
    yield from (int(256 * MIB * scale) for _ in range(4))


SHAPES = {"small": small, "mixed": mixed, "large": large}
FILES_A_FOLDER = 200


def programs() -> list[Program]:
    """Wherry of this environment, and the peers that this machine has."""
    wherry = Path(sys.executable).with_name("wherry")
    candidates = [
        Program("wherry copy", lambda src, dst: [str(wherry), "copy", src, dst]),
        Program("cp -a", lambda src, dst: ["cp", "-a", src, dst]),
        Program("rsync -a", lambda src, dst: ["rsync", "-a", f"{src}/", f"{dst}/"]),
    ]
    found = [one for one in candidates if shutil.which(one.command("", "")[0])]
    for one in candidates:
        if one not in found:
            print(f"{one.name}: not installed here, left out")
    return found


def make_tree(folder: Path, sizes: Iterator[int]) -> tuple[int, int]:
    """Files of random bytes, always the same ones; returns their number and the sum of their sizes."""
    dice, count, total = random.Random(1), 0, 0
    for count, size in enumerate(sizes, 1):
        place = folder / f"folder {count // FILES_A_FOLDER:04d}"
        place.mkdir(parents=True, exist_ok=True)
        with (place / f"fîle {count:07d}").open("wb") as file:
            for start in range(0, size, MIB):
                file.write(dice.randbytes(min(MIB, size - start)))
        total += size
    return count, total


def fingerprint(folder: Path) -> str:
    """A hash over everything that a faithful copy must keep."""
    whole = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            facts = path.stat()
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            kind_and_mode = stat.filemode(facts.st_mode)
            line = f"{path.relative_to(folder)}\0{kind_and_mode}\0{facts.st_mtime_ns}\0{content}\n"
            whole.update(line.encode(errors="surrogateescape"))
    return whole.hexdigest()


def processor_time() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def run_once(program: Program, source: Path, target: Path, expected: str) -> Sample:
    """One timed copy into a target that does not exist; checks it and removes it again."""
    os.sync()
    before, start = processor_time(), time.perf_counter()
    answer = subprocess.run(
        program.command(str(source), str(target)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    subprocess.run(["sync", "-f", str(target.parent)], check=True)
    sample = Sample(time.perf_counter() - start, processor_time() - before)
    if answer.returncode != 0:
        said = answer.stdout.decode(errors="replace").strip()[-500:]
        raise WrongCopy(f"{program.name} ended with {answer.returncode}: {said}")
    if fingerprint(target) != expected:
        raise WrongCopy(f"{program.name} made a copy that differs from the source")
    shutil.rmtree(target)
    return sample


def measure(field: list[Program], source: Path, work: Path, rounds: int) -> dict[str, list[Sample]]:
    """All samples by program. A first round is not counted: it warms the caches and starts nothing cold."""
    expected = fingerprint(source)
    samples: dict[str, list[Sample]] = {program.name: [] for program in field}
    for number in range(rounds + 1):
        first = number % len(field)
        for program in field[first:] + field[:first]:
            sample = run_once(program, source, work / "target", expected)
            if number > 0:
                samples[program.name].append(sample)
    return samples


def show(samples: dict[str, list[Sample]], count: int, total: int) -> None:
    """A table: medians with their spread, rates, and how often Wherry is as quick as each program."""
    walls = {name: [sample.wall for sample in runs] for name, runs in samples.items()}
    own = next(iter(walls.values()))
    print(
        f"{'program':<12} {'median':>8} {'min':>8} {'max':>8} {'CPU':>8} {'files/s':>9} {'MiB/s':>8}  wherry is"
    )
    for name, runs in walls.items():
        middle = statistics.median(runs)
        processor = statistics.median(sample.processor for sample in samples[name])
        ratios = [theirs / ours for theirs, ours in zip(runs, own, strict=True)]
        times = f"{middle:8.3f} {min(runs):8.3f} {max(runs):8.3f} {processor:8.3f}"
        rates = f"{count / middle:9.0f} {total / MIB / middle:8.1f}"
        ratio = f"{statistics.median(ratios):.2f} times as quick ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name:<12} {times} {rates}  {'-' if runs is own else ratio}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="A folder copied to a folder.")
    parser.add_argument("--shape", choices=SHAPES, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds, after one that is not")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="more or fewer files, bigger or smaller ones"
    )
    parser.add_argument(
        "--scratch", type=Path, help="where trees are made (its file system is what is measured)"
    )
    options = parser.parse_args(arguments)
    field = programs()
    for shape in options.shape or SHAPES:
        with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir=options.scratch) as scratch:
            work = Path(scratch)
            count, total = make_tree(work / "source", SHAPES[shape](options.scale))
            print(
                f"\n{shape}: {count} files, {total / MIB:.1f} MiB, {options.rounds} rounds, seconds",
                flush=True,
            )
            try:
                show(measure(field, work / "source", work, options.rounds), count, total)
            except WrongCopy as wrong:
                print(wrong, file=sys.stderr)
                return 1
    return 0
