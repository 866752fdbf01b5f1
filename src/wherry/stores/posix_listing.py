"""What lies in a folder: names as the system streams them, and what they stand for, many at a time.

All of it works on a descriptor of the folder.  `statuses` and `PosixGlance` are the innermost loops of a run in which
nothing has changed, so they call nothing of ours for an item.  Called by `posix_source` only.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import attrgetter

from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.stores.posix_fd import store_error

Looked = list[Entry | None]
"""What some names are now, in their order; None for what is gone."""

Strange = Callable[[bytes, os.stat_result], Entry]
"""What a name with this status is, that is no plain file."""

Odd = Callable[[bytes, os.stat_result], Entry | None]
"""What a name with this status is, that is no plain file or may be somebody's draft; None for nothing any more."""

_ENCODING = sys.getfilesystemencoding()
_FORMAT = 0o170000
_REGULAR = 0o100000
_PREFIX = len(names.TEMPORARY)
_PAGE = 500
_TOLD = attrgetter("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns")
_CHANGED = attrgetter("st_ctime_ns")
_SIZE = attrgetter("st_size")
_make = tuple.__new__


def stream(opened: int, folder: bytes) -> Iterator[list[bytes]]:
    """The names in the folder that `opened` is of, in pages after an empty one; closes it at the end."""
    try:
        with os.scandir(opened) as found:
            yield []
            # Many names are encoded in one call; none has a slash in it.
            while page := [one.name for one in islice(found, _PAGE)]:
                yield "/".join(page).encode(_ENCODING, "surrogateescape").split(b"/")
    except OSError as error:
        raise store_error(error, folder) from error
    finally:
        os.close(opened)


def statuses(at: int, found: Sequence[bytes]) -> list[os.stat_result] | None:
    """What the system says of names in the folder `at`; None when one of them is gone."""
    status = os.stat
    try:
        return [status(name, dir_fd=at, follow_symlinks=False) for name in found]
    except FileNotFoundError:
        return None


def may_be_draft(found: Sequence[bytes]) -> bool:
    """Whether one of these names, which are in order, may be a draft's."""
    at = bisect_left(found, names.TEMPORARY)
    return at < len(found) and found[at].startswith(names.TEMPORARY)


def look(at: int, found: Sequence[bytes], odd: Odd) -> Looked:
    """What the names in the folder `at` are now; `odd` is asked about all but plain files that are nobody's draft."""
    seen: Looked = []
    for name in found:
        try:
            now = os.stat(name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            seen.append(None)
            continue
        seen.append(plain(name, now) or odd(name, now))
    return seen


def plain(name: bytes, now: os.stat_result) -> Entry | None:
    """The entry of a plain file that is nobody's draft."""
    mode, inode, device, links, uid, gid, size, _, _, _ = now
    if mode & _FORMAT != _REGULAR or name[:_PREFIX] == names.TEMPORARY:
        return None
    return _make(Entry, (
        name, Kind.FILE, size, now.st_mtime_ns, now.st_ctime_ns, mode & 0o7777, uid, gid, links, device, inode,
        "", True, (), None,
    ))  # fmt: skip


class PosixGlance:
    """What names in a folder are, see `Glance`."""

    def __init__(self, found: Sequence[bytes], seen: list[os.stat_result], strange: Strange) -> None:
        self._found, self._seen, self._strange = found, seen, strange

    @property
    def told(self) -> list[tuple[int, ...]]:
        return list(map(_TOLD, self._seen))

    @property
    def changed(self) -> list[int]:
        return list(map(_CHANGED, self._seen))

    @property
    def sizes(self) -> list[int]:
        return list(map(_SIZE, self._seen))

    def entry(self, number: int) -> Entry:
        name, now = self._found[number], self._seen[number]
        return plain(name, now) or self._strange(name, now)
