"""What the bare system calls of a workload cost here, in the shortest Python there is: the floor under the engine.

No decision, no log, no second process, no care for anything that could go wrong. Microseconds of processor time an
item, to be set beside what Wherry takes for the same tree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.sinks import raw
from bench.sinks.certificate import Trust
from bench.workloads import Workload

_PIECE = 1024 * 1024
_PUTS = 20_000
_LARGE_PUTS = 256
_BLOCK = 8 * 1024 * 1024


def floor(workload: Workload, source: Path, target: Path, items: int, trust: Trust) -> tuple[float, str]:
    """Microseconds an item and what was done in them; 0 where there is no such loop."""
    if workload.kind == "rescan":
        return _timed(
            lambda: _scan(source) + _scan(target), items
        ), "both trees listed and every item looked at"
    if workload.kind == "simulated":
        return 0.0, ""
    if not workload.sink:
        return _timed(
            lambda: _copy(source, target), items
        ), "listed, opened, read, written, given its metadata"
    large = workload.name.startswith("large")
    size, puts = (_BLOCK, _LARGE_PUTS) if large else (4096, _PUTS)
    sent = raw.measure(workload.sink, target.parent, trust if workload.secure else None, puts, size)
    read = _timed(lambda: _read(source), items)
    each = sent.client
    if large:
        each *= sum(file.stat().st_size for file in source.iterdir()) / size / items
    return read + each, "listed, opened, read, and the same bytes put by a bare socket"


def _timed(work: Callable[[], object], items: int) -> float:
    before = time.process_time()
    work()
    return (time.process_time() - before) / items * 1e6


def _scan(folder: Path) -> int:
    count = 0
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                entry.stat(follow_symlinks=False)
                count += 1
    return count


def _folders(source: Path) -> Iterator[tuple[int, str, list[str]]]:
    for place, _, names, descriptor in os.fwalk(source):
        yield descriptor, os.path.relpath(place, source), names


def _read(source: Path) -> None:
    for folder, _, names in _folders(source):
        for name in names:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            size = os.fstat(descriptor).st_size
            for offset in range(0, size, _PIECE):
                os.pread(descriptor, min(_PIECE, size - offset), offset)
            os.close(descriptor)


def _copy(source: Path, target: Path) -> None:
    for folder, place, names in _folders(source):
        (target / place).mkdir(parents=True, exist_ok=True)
        into = os.open(target / place, os.O_RDONLY | os.O_DIRECTORY)
        for name in names:
            _copy_one(folder, into, name)
        os.close(into)


def _copy_one(folder: int, into: int, name: str) -> None:
    there = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    here = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=into)
    facts = os.fstat(there)
    if facts.st_size > _PIECE:
        left = facts.st_size
        while left > 0:
            left -= os.copy_file_range(there, here, left)
    else:
        os.write(here, os.read(there, facts.st_size))
    os.fchown(here, facts.st_uid, facts.st_gid)
    os.fchmod(here, facts.st_mode & 0o7777)
    os.utime(here, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.close(here)
    os.close(there)
