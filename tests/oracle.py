"""What is really there, told without any of the product's code: an independent look at folders and containers."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

Seen = dict[bytes, tuple[object, ...]]


def folder(root: Path | str, *, links: bool = True) -> Seen:
    """Every item below `root`: kind, mode, owner, time in ns, and a hash of the bytes."""
    top = os.fsencode(str(root))
    found: Seen = {}
    for base, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(base, name)
            found[os.path.relpath(path, top)] = _item(path, links)
    return found


def _item(path: bytes, links: bool) -> tuple[object, ...]:
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        return ("link", os.readlink(path))
    facts = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns)
    if stat.S_ISDIR(info.st_mode):
        return ("folder", *facts)
    if not stat.S_ISREG(info.st_mode):
        return ("special",)
    with open(path, "rb") as file:
        return ("file", info.st_size, hashlib.file_digest(file, "sha256").hexdigest(), *facts)


def grow(root: Path, files: int, per_folder: int = 100, size: int = 2048) -> int:
    """Make a tree of `files` small files with different bytes; returns how many items it has."""
    items = 0
    for number in range(files):
        place = root / f"folder {number // per_folder:04}"
        if number % per_folder == 0:
            place.mkdir(parents=True)
            items += 1
        seed = hashlib.sha256(str(number).encode()).digest()
        (place / f"file-{number:06}.bin").write_bytes((seed * (size // 32 + 1))[: size + number % 97])
        items += 1
    return items
