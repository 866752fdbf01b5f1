"""What lies in a folder: names as the system streams them, and what they stand for, many at a time.

All of it works on a descriptor of the folder.  `glance` is the innermost loop of a run in which nothing has changed,
and calls nothing of ours for an item; `look` is that of a first run, and calls nothing for a plain file.  Called by
`posix_source` only.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import attrgetter, itemgetter

from wherry.model import names
from wherry.model.entry import Entry, Glance, Kind
from wherry.stores.posix_fd import store_error

Looked = list[Entry | None]
"""What some names are now, in their order; None for what is gone."""

_ENCODING = sys.getfilesystemencoding()
_FORMAT = 0o170000
_REGULAR = 0o100000
_PREFIX = len(names.TEMPORARY)
_PAGE = 500
# Mode, links, owner, group and size: by number, which is quicker.
_TOLD = itemgetter(0, 3, 4, 5, 6)
_MODIFIED, _CHANGED = attrgetter("st_mtime_ns"), attrgetter("st_ctime_ns")
_NAME = attrgetter("name")
# What the system says of a file takes some hundred bytes: of so many it stays in a processor's own memory.
_AT_ONCE = 100


def stream(opened: int, folder: bytes) -> Iterator[list[bytes]]:
    """The names in the folder that `opened` is of, in pages after an empty one; closes it at the end."""
    try:
        with os.scandir(opened) as found:
            yield []
            # Many names are encoded in one call; none has a slash in it.
            while page := list(map(_NAME, islice(found, _PAGE))):
                yield "/".join(page).encode(_ENCODING, "surrogateescape").split(b"/")
    except OSError as error:
        raise store_error(error, folder) from error
    finally:
        os.close(opened)


def may_be_draft(found: Sequence[bytes]) -> bool:
    """Whether one of these names, which are in order, may be a draft's."""
    at = bisect_left(found, names.TEMPORARY)
    return at < len(found) and found[at].startswith(names.TEMPORARY)


def glance(at: int, found: Sequence[bytes]) -> Glance:
    """What the names in the folder `at` are now.  Raises OSError when one of them is gone."""
    told: list[tuple[int, ...]] = []
    modified: list[int] = []
    changed: list[int] = []
    status = os.stat
    for start in range(0, len(found), _AT_ONCE):
        some = found[start : start + _AT_ONCE]
        seen = [status(name, dir_fd=at, follow_symlinks=False) for name in some]
        told += map(_TOLD, seen)
        modified += map(_MODIFIED, seen)
        changed += map(_CHANGED, seen)
    return Glance(told, modified, changed)


def look(at: int, found: Sequence[bytes], odd: Callable[[bytes, os.stat_result], Entry | None]) -> Looked:
    """What the names in the folder `at` are now; `odd` is asked about all but plain files that are nobody's draft."""
    seen: Looked = []
    add, status, make, file, draft = seen.append, os.stat, tuple.__new__, Kind.FILE, names.TEMPORARY
    for name in found:
        try:
            now = status(name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            add(None)
            continue
        mode, inode, device, links, uid, gid, size, _, _, _ = now
        if mode & _FORMAT != _REGULAR or name[:_PREFIX] == draft:
            add(odd(name, now))
            continue
        add(make(Entry, (
            name, file, size, now.st_mtime_ns, now.st_ctime_ns, mode & 0o7777, uid, gid, links, device, inode,
            "", True, (), None,
        )))  # fmt: skip
    return seen
