"""Where the processor time of Wherry goes: its start, the bare system calls, and what the engine adds to them.

The program is run as it is for the totals; then once more inside this process, with no worker processes, under the
profiler of the standard library with a clock of each thread's own processor time. The profiler makes calls dearer than
they are: what a call costs it is measured and taken off, and the shares are of what is left.
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import os
import pstats
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import meter, primitives, results
from bench.comparison import WrongCopy
from bench.harness import Course, NoRoom
from bench.programs import WHERRY, Errand
from bench.workloads import Workload

_CALIBRATION = 100_000
_SHOWN = 12
# Waiting costs nothing; a call that still waits at the end has no right time at all.
_WAITS = ("SimpleQueue", "acquire", "select.", "poll", "time.sleep", "wait")

_BUILTIN = (
    ("_ssl.", "TLS"), ("posix.", "file system calls"), ("posix ", "file system calls"),
    ("ScandirIterator", "file system calls"), ("DirEntry", "file system calls"), ("_socket.", "socket calls"),
    ("_io.", "file objects"), ("_hashlib", "checksums"), ("_awscrt", "checksums"), ("zlib", "checksums"),
    ("_pickle", "pickle"), ("sqlite3", "SQLite"),
)  # fmt: skip

Function = tuple[str, int, str]


@dataclass(frozen=True)
class Shares:
    """Shares of the processor time of one run, by group and by function, and how often each was called."""

    groups: list[tuple[str, float]]
    functions: list[tuple[str, float, int]]


def is_possible(workload: Workload) -> bool:
    """Whether the system calls of a workload can be made without Wherry."""
    return workload.kind in ("copy", "rescan")


def show(workload: Workload, scale: float, scratch: Path, folder: Path | None) -> int:
    """Profile one workload, print it, and keep it with the results of a run."""
    if not is_possible(workload):
        print(f"{workload.name} has no floor to compare with; profile another workload", file=sys.stderr)
        return 2
    print(f"\nprofile of {workload.name}, scale {scale:g}", flush=True)
    place = Path(tempfile.mkdtemp(prefix="wherry-bench-", dir=scratch))
    try:
        lines = _lines(Course(workload, scale, place))
    except (NoRoom, WrongCopy) as why:
        print(f"no profile of {workload.name}: {why}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print("\n".join(lines))
    if folder:
        results.write(
            folder, f"profile-{workload.name}", {"workload": workload.name, "scale": scale, "lines": lines}
        )
    return 0


def _lines(course: Course) -> list[str]:
    items = course.tree.items
    start = _start(course)
    told, _ = course.run(WHERRY, (), checked=False, compared=False)
    whole = (told["user"] + told["system"]) / items * 1e6
    shares = _inside(course)
    _renew(course)
    floor, what = primitives.floor(course.workload, course.source, course.target, items, course.trust)
    begun = start.processor / items * 1e6
    groups = ", ".join(f"{name} {share:.0%}" for name, share in shares.groups)
    dearest = ", ".join(
        f"`{name}` {share:.1%} ({calls / items:.2f} calls an item)" for name, share, calls in shares.functions
    )
    user, system = told["user"] / items * 1e6, told["system"] / items * 1e6
    added = whole - begun - floor
    split = f"{user:,.1f} user, {system:,.1f} system"
    idle = f"{start.wall:.2f} s, {start.processor:.2f} s of processor time"
    return [
        f"- {whole:,.1f} µs of processor time an item in all ({split}); {items:,} items in {told['wall']:.2f} s.",
        f"- To start and to end, with nothing to copy: {idle}, {begun:,.1f} µs an item here.",
        f"- Bare system calls ({what}): {floor:,.1f} µs an item. The engine adds {added:,.1f} µs.",
        f"- By what the time is spent in: {groups}.",
        f"- Dearest functions: {dearest}.",
    ]


def _start(course: Course) -> meter.Usage:
    """The median of three runs with nothing to copy."""
    nothing = course.folder / "nothing"
    nothing.mkdir()
    runs = []
    for _ in range(3):
        with course.sink(checked=False) as taking:
            errand = Errand(nothing, course.folder / "empty", course.folder, course.trust.authority, taking)
            runs.append(meter.run(WHERRY.command(errand, ()), course.folder, WHERRY.environment(errand)))
    nothing.rmdir()
    return sorted(runs, key=lambda run: run.processor)[1]


def _renew(course: Course) -> None:
    """An empty target again, for the bare loop."""
    if course.workload.kind == "copy":
        shutil.rmtree(course.target, ignore_errors=True)
        course.target.mkdir()


def _inside(course: Course) -> Shares:
    """One run in this process, profiled."""
    _renew(course)
    if course.workload.sink:
        course.target.rmdir()
    with course.sink(checked=False) as taking:
        errand = Errand(course.source, course.target, course.logs, course.trust.authority, taking)
        words = WHERRY.command(errand, ("--workers", "0"))[1:]
        with _environment(WHERRY.environment(errand)):
            _warm(errand)
            return _shares(_profiled(words))


def _warm(errand: Errand) -> None:
    """Copy nothing, so that all is imported before the clock runs."""
    nothing, empty = errand.scratch / "nothing", errand.scratch / "empty"
    nothing.mkdir()
    idle = Errand(nothing, empty, errand.scratch, errand.authority, errand.sink)
    _run([*WHERRY.command(idle, ("--workers", "0"))[1:]])


@contextlib.contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(words: list[str]) -> None:
    from wherry.cli.main import main

    sys.argv = ["wherry", *words]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main()
    if "Succeeded" not in said.getvalue():
        raise WrongCopy(f"the copy to be profiled failed: {said.getvalue()[-500:]}")


def _profiled(words: list[str]) -> pstats.Stats:
    profiles: list[cProfile.Profile] = []

    def begin(*_: Any) -> None:
        """In a new thread: the first call of anything brings its profile."""
        sys.setprofile(None)
        one = cProfile.Profile(time.thread_time)
        profiles.append(one)
        one.enable()

    own = cProfile.Profile(time.thread_time)
    threading.setprofile(begin)
    try:
        own.runcall(_run, words)
    finally:
        threading.setprofile(None)
    stats = pstats.Stats(own)
    for one in profiles:
        stats.add(one)
    return stats


def _toll() -> tuple[float, float]:
    """What the profiler adds to a function for being called, and to its caller for calling."""

    def callee() -> None:
        return None

    def caller() -> None:
        for _ in range(_CALIBRATION):
            callee()

    before = time.thread_time()
    caller()
    bare = time.thread_time() - before
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(caller)
    own = {name: tottime for (_, _, name), (_, _, tottime, _, _) in _entries(pstats.Stats(profile)).items()}
    return own["callee"] / _CALIBRATION, max(0.0, own["caller"] - bare) / _CALIBRATION


def _entries(stats: pstats.Stats) -> dict[Function, tuple[int, int, float, float, dict[Function, Any]]]:
    return stats.stats  # type: ignore[attr-defined, no-any-return]


def _shares(stats: pstats.Stats) -> Shares:
    called, calling = _toll()
    entries = _entries(stats)
    made: Counter[Function] = Counter()
    for entry in entries.values():
        for caller, counts in entry[4].items():
            made[caller] += counts[0]
    times = {
        function: max(0.0, tottime - count * called - made[function] * calling)
        for function, (_, count, tottime, _, _) in entries.items()
        if function[0] != "~" or not any(wait in function[2] for wait in _WAITS)
    }
    whole = sum(times.values()) or 1.0
    groups: defaultdict[str, float] = defaultdict(float)
    for function, spent in times.items():
        groups[group(function)] += spent
    dearest = sorted(times, key=lambda function: -times[function])[:_SHOWN]
    return Shares(
        [
            (name, spent / whole)
            for name, spent in sorted(groups.items(), key=lambda one: -one[1])[:_SHOWN]
            if spent / whole >= 0.005
        ],
        [(_name(function), times[function] / whole, entries[function][1]) for function in dearest],
    )


def group(function: Function) -> str:
    """The part that a function belongs to: a module of Wherry, a kind of call into C, or other Python."""
    file, _, name = function
    if "/wherry/" in file:
        inside = file.rpartition("/wherry/")[2].removesuffix(".py").removesuffix("/__init__")
        return "wherry." + ".".join(inside.split("/")[:2])
    if file == "~":
        return _builtin(name)
    return (
        f"{Path(file).stem} (standard library)"
        if "/lib/python" in file and "site-packages" not in file
        else "others"
    )


def _builtin(name: str) -> str:
    for word, kind in _BUILTIN:
        if word in name:
            return kind
    return "built-in functions"


def _name(function: Function) -> str:
    file, _, name = function
    if file == "~":
        return name.strip("<>").removeprefix("built-in method ").removeprefix("method ").replace("'", "")
    stem = file.rpartition("/wherry/")[2] if "/wherry/" in file else Path(file).name
    return f"{stem.removesuffix('.py').replace('/', '.')}:{name}"
