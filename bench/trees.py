"""The trees that are copied: always the same ones, of bytes that do not compress, owners and times of their own.

Each is named after the data set of the comparison rules: D1 small, D2 the mix of the original's own tests, D3 large,
D4 deep, D5 one flat folder; `hollow` files have a size but no data, for workloads that never read them.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

KIB, MIB, GIB = 1024, 1024**2, 1024**3
# Sizes of the original's test namespace in percent; its folders are 6 % of the items. It names 98 %.
MIX = ((19, 1, KIB, 0), (57, KIB, 16 * KIB, 1), (16, 16 * KIB, MIB, 2))
MIX_FOLDERS = 6
_POOL = 8 * MIB
_EPOCH = 1_600_000_000 * 10**9
_OWNERS = 5


@dataclass(frozen=True)
class File:
    """A file to be made, its folder relative to the root."""

    folder: str
    name: str
    size: int


@dataclass(frozen=True)
class Tree:
    """What was made: files, folders below the root, and bytes."""

    files: int
    folders: int
    size: int

    @property
    def items(self) -> int:
        return self.files + self.folders


def small(count: int, size: int = 4 * KIB, width: int = 1000) -> Iterator[File]:
    """D1: files of one size, a thousand in each folder."""
    for number in range(count):
        yield File(f"folder {number // width:04d}", f"fîle {number:07d}.bin", size)


def large(count: int, size: int) -> Iterator[File]:
    """D3: a few big files."""
    for number in range(count):
        yield File("", f"large {number:02d}.bin", size)


def mix_size(dice: random.Random) -> int:
    """A size of the mix. Within a class the density falls by an exponent that gives the mean of the original's
    namespace (3.3 million files, 45 GiB): evenly below 1 KiB, as 1/x up to 16 KiB, as 1/x² beyond.
    """
    _, low, high, exponent = dice.choices(MIX, weights=[share[0] for share in MIX])[0]
    draw = dice.random()
    if exponent == 0:
        return int(low + (high - low) * draw)
    if exponent == 1:
        return int(low * math.exp(math.log(high / low) * draw))
    return int(1 / (1 / low - draw * (1 / low - 1 / high)))


def mix(items: int) -> Iterator[File]:
    """D2: in a tree of folders three levels deep, of which each holds about fifteen files."""
    dice = random.Random(2)
    folders = items * MIX_FOLDERS // 98
    files = items - folders
    leaves = max(
        1, round(folders / 1.0525)
    )  # the rest are groups of twenty of them, and twenty such groups each
    for number in range(files):
        leaf = number * leaves // files
        folder = f"dept {leaf // 400:03d}/group {leaf // 20 % 20:02d}/share {leaf:05d}"
        yield File(folder, f"document {number:06d}.dat", mix_size(dice))


def deep(levels: int, each: int = 10, wide: int = 10_000) -> Iterator[File]:
    """D4: a chain of folders with a few files on each level, and one wide level at its end."""
    folder = ""
    for level in range(levels):
        folder = f"{folder}/{level:03d}".lstrip("/")
        for number in range(each):
            yield File(folder, f"file {number:02d}", KIB)
    for number in range(wide):
        yield File(folder, f"wide {number:06d}", KIB)


def flat(count: int, size: int = KIB) -> Iterator[File]:
    """D5: all in one folder."""
    for number in range(count):
        yield File("", f"file {number:07d}", size)


def make(root: Path, files: Iterator[File], hollow: bool = False) -> Tree:
    """Make the tree; times of folders are set last."""
    pool = random.Random(1).randbytes(_POOL)
    owned = os.geteuid() == 0
    folders: dict[str, int] = {"": _open_folder(root, "")}
    count = total = 0
    for count, file in enumerate(files, 1):
        folder = folders.get(file.folder)
        if folder is None:
            folder = folders[file.folder] = _open_folder(root, file.folder)
            if len(folders) > 512:
                os.close(folders.pop(next(iter(folders))))
        descriptor = os.open(file.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
        try:
            if hollow:
                os.truncate(descriptor, file.size)
            else:
                _fill(descriptor, file.size, count, pool)
            if owned:
                os.fchown(descriptor, 1000 + count % _OWNERS, 1000 + count % _OWNERS)
            os.fchmod(descriptor, (0o644, 0o600, 0o755, 0o640)[count % 4])
            moment = _EPOCH + count * 1_000_003_017
            os.utime(descriptor, ns=(moment, moment))
        finally:
            os.close(descriptor)
        total += file.size
    for descriptor in folders.values():
        os.close(descriptor)
    return Tree(count, _date_folders(root, owned), total)


def _open_folder(root: Path, name: str) -> int:
    place = root / name
    place.mkdir(parents=True, exist_ok=True)
    return os.open(place, os.O_RDONLY | os.O_DIRECTORY)


def _fill(descriptor: int, size: int, number: int, pool: bytes) -> None:
    """Bytes that no other file has: a number, then the pool from a place of the file's own."""
    left, piece = size, number.to_bytes(8, "big") * 2
    os.write(descriptor, piece[:left])
    left -= min(left, len(piece))
    at = number * 7919 % (_POOL - MIB)
    view = memoryview(pool)
    while left > 0:
        left -= os.write(descriptor, view[at : at + min(left, MIB)])
        at = (at + 104_729) % (_POOL - MIB)


def _date_folders(root: Path, owned: bool) -> int:
    count = 0
    for number, (place, _, _) in enumerate(os.walk(root, topdown=False)):
        moment = _EPOCH - (number + 1) * 1_000_000_007
        if owned:
            os.chown(place, 1000 + number % _OWNERS, 1000 + number % _OWNERS)
        os.chmod(place, (0o755, 0o750, 0o711)[number % 3])
        os.utime(place, ns=(moment, moment))
        count += place != str(root)
    return count


Shape = Callable[[], Iterator[File]]
