"""Small plain files from one folder store to another, some hundred at a time: the short way.

Each file goes by the fewest system calls that keep every promise of `put`: it is opened by its name in a folder that
is held open, read to its end in one call, looked at once more, and created where nothing is.  Whatever is not plain
(another version, attributes or holes, a name that is taken, any error) is undone and left to the long way, which knows
what to make of it.  Called by the engine through the port (`HasLane`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherry.model.entry import Entry
from wherry.stores.lane import Parcel
from wherry.stores.posix_attributes import any_kept
from wherry.stores.posix_source import PosixSource

if TYPE_CHECKING:
    from wherry.stores.posix import PosixStore

LIMIT = 1 << 20

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PAGE = 4096
_KIND, _PLAIN = 0o170000, 0o100000


class PosixLane:
    """The way from `source` to `target`; for one thread."""

    limit = LIMIT

    def __init__(self, source: PosixSource, target: PosixStore) -> None:
        self._source = source
        self._target = target

    def send(self, folder: bytes, entries: list[Entry]) -> Parcel:
        """Copy these files of `folder`: none is under way any more when this returns."""
        parcel = Parcel(folder, entries)
        parcel.left = self._copy(folder, entries)
        return parcel

    def wait(self) -> None:
        """Nothing is ever under way."""

    def close(self) -> None:
        """Nothing is held."""

    def _copy(self, folder: bytes, entries: Sequence[Entry]) -> list[int]:
        left: list[int] = []
        try:
            near, far = self._source.held(folder), self._target.held(folder)
        except OSError:
            return list(range(len(entries)))
        attributed = self._source.traits.holds.attributes
        fence, finish = self._target.changing(), self._target.finish
        os_open, close, read, fstat, attributes = os.open, os.close, os.pread, os.fstat, os.listxattr
        for number, entry in enumerate(entries):
            name, size = entry[0], entry[2]
            try:
                opened = os_open(name, _READ, dir_fd=near)
            except OSError:
                left.append(number)
                continue
            try:
                # By its offset, which a pipe that has come in its place refuses.
                data = read(opened, size + 1, 0)
                now = fstat(opened)
                mode, inode, device, _, _, _, length, _, _, _ = now
                plain = (
                    len(data) == length == size
                    and now.st_ctime_ns == entry[4]
                    and now.st_mtime_ns == entry[3]
                    and inode == entry[10]
                    and device == entry[9]
                    and mode & _KIND == _PLAIN
                    and (size <= _PAGE or now.st_blocks * 512 >= size)
                    and not (attributed and (listed := attributes(opened)) and any_kept(listed))
                )
            except OSError:
                plain = False
            finally:
                close(opened)
            if not plain:
                left.append(number)
                continue
            fence()
            try:
                made = os_open(name, _NEW, 0o600, dir_fd=far)
            except OSError:
                left.append(number)
                continue
            if not finish(made, folder, name, data, entry):
                # What is wrong comes again, or the folder is another one by now.
                left.extend(range(number, len(entries)))
                break
        return left
