r"""A list of paths, sorted once into a file that any process can look paths up in without reading it.

`sort` reads a list separated by zero bytes or by lines, in memory that does not grow with it: beyond `CHUNK` paths
the sorted pieces are merged from disk.  In the file a path has zero bytes for its slashes and ends with a slash, for
a name can hold neither: so what lies below a folder follows it at once.  A path that was given with a slash at its end
means all below that folder; it is kept with a zero byte at its end.  `Listed` looks up, by bisection of the mapped
file.
"""

from __future__ import annotations

import heapq
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wherry.model import names
from wherry.model.errors import UsageError

CHUNK = 200_000
_BLOCK = 1024 * 1024
_LONGEST = 64 * 1024
_END = b"/"
_PART = b"\0"


@dataclass(frozen=True, slots=True)
class Sorted:
    """What was sorted: how many paths, and whether some mean all below them."""

    count: int
    whole_folders: bool


def sort(source: BinaryIO, name: str, target: Path) -> Sorted:
    """Sort the list that `source` holds into the file `target`.

    Raises `UsageError` that names the line for a path that is absolute, leads out of the root or has empty parts.
    """
    count, whole = 0, False
    with tempfile.TemporaryDirectory(prefix="wherry-manifest-", dir=target.parent) as folder:
        pieces: list[str] = []
        records = _records(source, name)
        while chunk := sorted(islice(records, CHUNK)):
            piece = os.path.join(folder, str(len(pieces)))
            with open(piece, "wb", _BLOCK) as out:
                out.writelines(one + _END for one in chunk)
            pieces.append(piece)
        if not pieces:
            raise UsageError(f"{name} names no paths: nothing would be copied.")
        with target.open("wb", _BLOCK) as out:
            before = None
            for record in heapq.merge(*map(_read, pieces)):
                if record != before:
                    out.write(record + _END)
                    count, whole = count + 1, whole or record.endswith(_PART)
                before = record
    return Sorted(count, whole)


def _records(source: BinaryIO, name: str) -> Iterator[bytes]:
    for number, path in enumerate(_paths(source, name), 1):
        # As `find` writes them.
        kept = path.removeprefix(b"./") if path != b"./" else path
        if not kept or kept == b".":
            continue
        if problem := _problem(kept):
            raise UsageError(f"{name}, line {number}: '{names.escape(path)}' {problem}.")
        yield kept.replace(b"/", _PART)


def _problem(path: bytes) -> str:
    if path.startswith(b"/"):
        return "is absolute: give paths below the source"
    if path == b"./":
        return "means all of the source: leave the manifest out for that"
    inside = path.removesuffix(b"/")
    if b"/." in inside or inside.startswith(b".") or b"//" in inside or inside.endswith(b"/"):
        for part in inside.split(b"/"):
            if not part:
                return "has an empty part: give single slashes"
            if part in (b".", b".."):
                return f"has the part '{part.decode()}': give paths as they are below the source"
    return "has a zero byte, as no path has" if b"\0" in path else ""


def _paths(source: BinaryIO, name: str) -> Iterator[bytes]:
    """The paths as they stand there; by zero bytes when the beginning has one, else by lines."""
    rest = source.read(_BLOCK)
    separator = b"\0" if b"\0" in rest else b"\n"
    number = 0
    while block := source.read(_BLOCK):
        *whole, rest = (rest + block).split(separator)
        number += len(whole)
        if len(rest) > _LONGEST + _BLOCK:
            raise UsageError(f"{name}, line {number + 1} is longer than any path.")
        yield from whole
    yield from rest.split(separator)


def _read(file: str) -> Iterator[bytes]:
    rest = b""
    with open(file, "rb", 0) as source:
        while block := source.read(_BLOCK // 16):
            *whole, rest = (rest + block).split(_END)
            yield from whole


class Child(NamedTuple):
    """A name in a folder, as the list has it: `listed` itself, `whole` with all below, or `leading` to something."""

    name: bytes
    listed: bool
    whole: bool
    leading: bool

    @property
    def folder(self) -> bool:
        """Whether this can only be a folder."""
        return self.whole or self.leading


class Listed:
    """The paths of a sorted file."""

    def __init__(self, file: str) -> None:
        with open(file, "rb") as opened:
            self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self._size = len(self._map)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def children(self, folder: bytes, first: bytes = b"") -> Iterator[Child]:
        """The names in a folder that the list has, sorted, from the name `first` on."""
        prefix = folder.replace(b"/", _PART) + _PART if folder else b""
        at = self._first(prefix + first, 0)
        while at < self._size:
            record, at = self._record(at)
            if not record.startswith(prefix):
                return
            rest = record[len(prefix) :]
            if not rest:
                continue  # the folder itself, with all below
            name, _, below = rest.partition(_PART)
            listed = len(name) == len(rest)
            if listed:
                # What comes next may lie in it.
                following, after = self._record(at) if at < self._size else (b"", at)
                if not following.startswith(record + _PART):
                    yield Child(name, True, False, False)
                    continue
                at, below = after, following[len(record) + 1 :]
            at, whole, leading = self._inside(prefix + name, at, not below)
            yield Child(name, listed, whole, leading or bool(below))

    def _inside(self, key: bytes, at: int, whole: bool) -> tuple[int, bool, bool]:
        """Past all that lies in a folder of which the first record was read."""
        inside = key + _PART
        record = self._record(at)[0] if at < self._size else b""
        if not record.startswith(inside):
            return at, whole, False
        return self._first(key + b"\1", at), whole, True

    def child(self, path: bytes) -> Child | None:
        """What the list says of one path itself, None when it has neither it nor anything in it."""
        name = names.basename(path)
        found = next(self.children(names.parent(path), name), None)
        return found if found is not None and found.name == name else None

    def is_whole(self, path: bytes) -> bool:
        """Whether all below a folder is listed, by itself or by a folder above."""
        key = path.replace(b"/", _PART)
        while key:
            whole = key + _PART
            at = self._first(whole, 0)
            if at < self._size and self._record(at)[0] == whole:
                return True
            key = key.rpartition(_PART)[0]
        return False

    def count(self, folder: bytes, most: int) -> int:
        """How many names in a folder the list has, no further than `most`."""
        return sum(1 for _ in islice(self.children(folder), most))

    def _record(self, at: int) -> tuple[bytes, int]:
        end = self._map.find(_END, at)
        return self._map[at:end], end + 1

    def _first(self, key: bytes, low: int) -> int:
        """Where the first record stands that is not below `key`."""
        high = self._size
        while low < high:
            middle = (low + high) // 2
            start = self._map.rfind(_END, low, middle) + 1 or low
            record, end = self._record(start)
            if record < key:
                low = end
            else:
                high = start
        return low


def several(found: Iterable[Child], size: int) -> Iterator[list[Child]]:
    """In lists of at most `size`."""
    each = iter(found)
    while batch := list(islice(each, size)):
        yield batch
