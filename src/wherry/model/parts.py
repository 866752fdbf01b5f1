"""How a large file is cut into parts, and the names that its parts bear.

Both are pure functions of the source's version, so that whoever takes over a half-sent file computes the same
names, finds what is already there and sends the rest; parts of another version never match.  Called by the
engine for stores that take parts.
"""

from __future__ import annotations

import hashlib

from wherry.model.entry import Entry
from wherry.model.errors import UsageError

_STEP = 1 << 20


def part_size(size: int, smallest: int, most: int) -> int:
    """The size of all parts but the last: `smallest`, grown by whole MiB so that there are at most `most` of them."""
    if most < 1 or smallest < 1:
        raise UsageError("A store that takes parts names a part size and how many it takes.")
    needed = -(-size // most)
    return smallest if needed <= smallest else -(-needed // _STEP) * _STEP


def part_ids(path: bytes, entry: Entry, size: int) -> list[str]:
    """The names of the parts of this version of the file, in their order, all of one length.

    Of the version only what every agent sees alike goes in: the same share has another device number elsewhere.
    """
    version = f"{entry.size} {entry.modified} {entry.changed} {entry.inode} {entry.etag} {size} "
    stem = hashlib.sha256(version.encode() + path).hexdigest()[:24]
    return [f"{stem}-{index:06d}" for index in range(max(1, -(-entry.size // size)))]
