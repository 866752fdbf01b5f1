"""Whether a copy is one: names, kinds, sizes and bytes must agree for every program, metadata as it promises.

Two walks side by side in the order of names, nothing kept. Bytes are compared whole, or for a sample only.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

SAMPLE = 50
_MIB = 1024 * 1024


class WrongCopy(Exception):
    """A program failed, or what it made is not what it was given."""


class Item(NamedTuple):
    """One item of a tree, its path relative to the root."""

    path: str
    facts: os.stat_result

    @property
    def kind(self) -> str:
        return stat.filemode(self.facts.st_mode)[0]


def walk(root: str, folder: str = "") -> Iterator[Item]:
    """All items below the root, folders before what is in them, names of each folder sorted."""
    with os.scandir(os.path.join(root, folder)) as entries:
        found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
    for name, facts in found:
        path = f"{folder}/{name}" if folder else name
        yield Item(path, facts)
        if stat.S_ISDIR(facts.st_mode):
            yield from walk(root, path)


def compare(source: Path, target: Path, whole: bool) -> Counter[str]:
    """Compare a copy with its source. Returns what metadata is lacking, counted by its name.

    Raises `WrongCopy` for anything else that differs. `whole`: all bytes of all files, else of every fiftieth.
    """
    lacking: Counter[str] = Counter()
    number = 0
    for ours, theirs in zip_longest(walk(str(source)), walk(str(target))):
        if ours is None or theirs is None or ours.path != theirs.path:
            raise WrongCopy(f"one has {ours and ours.path!r} where the other has {theirs and theirs.path!r}")
        lacking.update(_lacking(ours, theirs))
        if stat.S_ISREG(ours.facts.st_mode):
            if ours.facts.st_size != theirs.facts.st_size:
                raise WrongCopy(f"{ours.path!r} has {theirs.facts.st_size} bytes of {ours.facts.st_size}")
            number += 1
            if whole or number % SAMPLE == 1:
                _compare_bytes(source / ours.path, target / ours.path, whole)
    return lacking


def _lacking(ours: Item, theirs: Item) -> Iterator[str]:
    if ours.kind != theirs.kind:
        raise WrongCopy(f"{ours.path!r} is {theirs.kind!r} and not {ours.kind!r}")
    what = "folder" if ours.kind == "d" else "file"
    if ours.facts.st_mode != theirs.facts.st_mode:
        yield f"{what} modes"
    if ours.facts.st_mtime_ns != theirs.facts.st_mtime_ns:
        yield f"{what} times"
    if (ours.facts.st_uid, ours.facts.st_gid) != (theirs.facts.st_uid, theirs.facts.st_gid):
        yield f"{what} owners"


def _compare_bytes(ours: Path, theirs: Path, whole: bool) -> None:
    with ours.open("rb", buffering=0) as one, theirs.open("rb", buffering=0) as other:
        size = os.fstat(one.fileno()).st_size
        # Of a big file that is only sampled: a megabyte in every sixteen.
        step = _MIB if whole or size <= _MIB else 16 * _MIB
        for offset in range(0, size, step):
            if os.pread(one.fileno(), _MIB, offset) != os.pread(other.fileno(), _MIB, offset):
                raise WrongCopy(f"the bytes of {str(theirs)!r} differ after {offset}")


def compare_objects(source: Path, report: dict[str, Any], objects: list[dict[str, Any]], prefix: str) -> None:
    """Compare what a sink has received with the source: every file once, its size, and its bytes where the sink
    hashed them. Empty objects beside the files are the markers of folders. Raises `WrongCopy`.
    """
    if report["again"] or report["refused"]:
        raise WrongCopy(f"{report['again']} objects came twice, {report['refused']} requests were refused")
    found = {thing["path"].removeprefix(prefix): thing for thing in objects}
    for item in walk(str(source)):
        thing = found.pop(item.path, None) or found.pop(item.path + "/", None)
        if not stat.S_ISREG(item.facts.st_mode):
            continue
        if thing is None or thing["size"] != item.facts.st_size:
            raise WrongCopy(f"{item.path!r} did not arrive, or not with its {item.facts.st_size} bytes")
        _compare_digests(source / item.path, thing["digests"])
    found.pop("", None)
    if found:
        raise WrongCopy(f"{len(found)} objects are no items of the source, as {next(iter(found))!r}")


def _compare_digests(file: Path, digests: list[tuple[int, str]]) -> None:
    if not digests:
        return
    with file.open("rb") as source:
        for size, digest in digests:
            if hashlib.sha256(source.read(size)).hexdigest() != digest:
                raise WrongCopy(f"the bytes of {str(file)!r} did not arrive as they are")


def untouched(target: Path) -> str:
    """A fingerprint that changes with any write to a tree: inodes and change times."""
    seen = hashlib.sha256()
    for item in walk(str(target)):
        seen.update(b"%d %d\n" % (item.facts.st_ino, item.facts.st_ctime_ns))
    return seen.hexdigest()
