"""The reading half of a folder store: lists, looks and opens, and changes nothing but its own leftovers.

All is done relative to a descriptor of the root (`posix_fd`), so no link in the tree leads out of it.  Folders in
use are kept open; what was removed and made anew meanwhile is reached again.  `posix` adds the writing half.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import TypeVar

from wherry.model import names
from wherry.model.entry import Attributes, Entry, Glance, Kind
from wherry.model.errors import Unsafe, Unsupported
from wherry.model.plan import Holds
from wherry.stores.port import Fence, Root, StoreSpec, Traits, no_fence
from wherry.stores.posix_attributes import attributes_of, holds_attributes
from wherry.stores.posix_draft import in_use
from wherry.stores.posix_fd import CHOWN, Folders, Opener, may, permissions, store_error
from wherry.stores.posix_listing import Looked, glance, look, may_be_draft, stream
from wherry.stores.posix_reader import PosixReader, entry_of, plain
from wherry.stores.posix_root import identity, open_root, time_limits, time_step

_STALE_SECONDS = 86_400
# Change times are taken from the coarse clock; the fine one runs ahead of it by up to a tick.
_COARSE_CLOCK = 5
# So many entries of a listing are in memory at once, besides its names.
_LOOKED_AT = 1000

_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EACCES, errno.ENAMETOOLONG)

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_QUIETLY = READ | os.O_NOATIME
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_T = TypeVar("_T")


class PosixSource:
    """See the module.  `modern` False keeps from `openat2`, as on old kernels."""

    def __init__(self, spec: StoreSpec, fence: Fence = no_fence, modern: bool = True) -> None:
        self._spec = spec
        self._fence = fence
        self._modern = modern
        self._target = spec.create
        self._root = open_root(spec, fence, modern)
        self._follow = spec.follow and not spec.create
        self._opener = Opener(self._root, modern, self._follow)
        self._folders = Folders(self._opener)
        self._owner = may(CHOWN)
        self._attributes = holds_attributes(self._root)
        longest = os.statvfs(self._root).f_namemax or 255
        earliest, latest = time_limits(self._root)
        self.traits = Traits(
            holds=Holds(
                names.NameRules(part_length=longest, reserved=names.NUL),
                precision=time_step(self._root),
                owner=self._owner,
                bits=permissions(),
                attributes=self._attributes,
                earliest=earliest,
                latest=latest,
            ),
            order="bytes",
            durable=True,
        )

    def probe(self) -> Root:
        # By its path again, not by the descriptor: another file system may be mounted over it by now.
        now = open_root(self._spec, self._fence, self._modern)
        try:
            return Root(identity(now), time.clock_gettime_ns(_COARSE_CLOCK))
        except OSError as error:
            raise store_error(error, b"") from error
        finally:
            os.close(now)

    # ------------------------------------------------------------ listings

    def names(self, folder: bytes) -> Iterator[bytes]:
        pages = stream(self._listable(folder), folder)
        next(pages)
        return chain.from_iterable(pages)

    def look(self, folder: bytes, found: Sequence[bytes]) -> Looked:
        try:
            seen = self._look(folder, found)
            if None in seen and self._folders.forget_if_gone(folder):
                seen = self._look(folder, found)
        except OSError as error:
            raise store_error(error, folder) from error
        return seen

    def glance(self, folder: bytes, found: Sequence[bytes]) -> Glance | None:
        if may_be_draft(found):
            return None
        try:
            return glance(self._folders.at(folder), found)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(error, folder) from error

    def list(self, folder: bytes) -> Iterator[Entry]:
        found = sorted(self.names(folder))
        return self._listing(folder, found)

    def _listing(self, folder: bytes, found: Sequence[bytes]) -> Iterator[Entry]:
        for start in range(0, len(found), _LOOKED_AT):
            for entry in self.look(folder, found[start : start + _LOOKED_AT]):
                if entry is not None:
                    yield entry

    def _listable(self, folder: bytes) -> int:
        """A descriptor to list a folder by."""
        try:
            try:
                return self._opened(self._folders.at(folder), b".", LIST)
            except FileNotFoundError:
                if not self._folders.forget_if_gone(folder):
                    raise
                return self._opened(self._folders.at(folder), b".", LIST)
        except OSError as error:
            raise store_error(error, folder) from error

    def _look(self, folder: bytes, found: Sequence[bytes]) -> Looked:
        at = self._folders.at(folder)

        def odd(name: bytes, now: os.stat_result) -> Entry | None:
            entry = entry_of(name, now)
            if names.is_temporary(name):
                return None if self._tidy(at, name, now) else entry._replace(kind=Kind.SPECIAL)
            if self._follow and entry.kind is Kind.LINK:
                return self._followed(names.join(folder, name), entry)
            return entry

        return look(at, found, odd)

    def _followed(self, path: bytes, link: Entry) -> Entry:
        """What a link leads to; the link itself when that is outside, nowhere, or a folder that the link lies in."""
        try:
            found = self._found(path)
            entry = entry_of(link.name, found)
            if entry.kind is Kind.FOLDER and any(
                os.path.samestat(found, self._found(above)) for above in _above(path)
            ):
                return link
        except OSError as error:
            if error.errno not in _LEADS_NOWHERE:
                raise
            return link
        return entry

    def _found(self, path: bytes) -> os.stat_result:
        """The status of what a path leads to, by a descriptor of its own: those kept may be in use."""
        opened = self._opener.open(path, os.O_PATH)
        try:
            return os.fstat(opened)
        finally:
            os.close(opened)

    def _tidy(self, at: int, name: bytes, found: os.stat_result) -> bool:
        """Remove what an agent left that died long ago; on a target only.  Whether it was that."""
        stale = found.st_ctime < time.time() - _STALE_SECONDS
        if not self._target or not stale or stat.S_ISDIR(found.st_mode) or in_use(at, name):
            return False
        self._fence()
        # Where we may not remove it, it stays, and harms nothing.
        with suppress(OSError):
            os.unlink(name, dir_fd=at)
        return True

    # ------------------------------------------------------------ single items

    def stat(self, path: bytes) -> Entry | None:
        try:
            entry = entry_of(names.basename(path), self._status(path))
            return self._followed(path, entry) if self._follow and entry.kind is Kind.LINK else entry
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise store_error(error, path) from error

    def open(self, path: bytes) -> PosixReader:
        # Not looked at first, for speed: the engine opens what a listing called a file, and if a pipe has come in its
        # place meanwhile, `O_NONBLOCK` keeps us from waiting for its other end.
        try:
            at, name = self._at(path)
            try:
                opened = os.open(name, _READ_QUIETLY, dir_fd=at)
            except PermissionError:
                opened = os.open(name, READ, dir_fd=at)  # Only the owner may ask for no access time.
        except OSError:
            name, opened = self._open_again(path)
        try:
            found = os.fstat(opened)
        except OSError as error:
            os.close(opened)
            raise store_error(error, path) from error
        if found.st_mode & 0o170000 != 0o100000:
            os.close(opened)
            raise Unsupported(f"{names.escape(path)}: it is not a plain file")
        return PosixReader(name, opened, found, self._attributes)

    def _open_again(self, path: bytes) -> tuple[bytes, int]:
        """With the patience that `open` spares: for a file of somebody else's, in a folder that was replaced."""
        try:
            return names.basename(path), self._in_folder(path, lambda at, name: self._opened(at, name, READ))
        except OSError as error:
            if self._follow and error.errno == errno.ELOOP:
                return names.basename(path), self._open_followed(path)
            if error.errno == errno.ELOOP and (seen := self.stat(path)) and seen.kind is Kind.LINK:
                raise Unsupported(f"{names.escape(path)}: it is a link") from None
            raise store_error(error, path) from error

    def _open_followed(self, path: bytes) -> int:
        try:
            try:
                return self._opener.open(path, _READ_QUIETLY)
            except PermissionError:
                return self._opener.open(path, READ)
        except OSError as error:
            raise store_error(error, path) from error

    def attributes(self, path: bytes) -> Attributes:
        if not self._attributes:
            return ()
        try:
            opened = self._opener.open(path, os.O_PATH | os.O_NOFOLLOW)
            try:
                return attributes_of(b"/proc/self/fd/%d" % opened)
            finally:
                os.close(opened)
        except OSError as error:
            raise store_error(error, path) from error

    def read_link(self, path: bytes) -> bytes:
        try:
            return self._in_folder(path, lambda at, name: os.readlink(name, dir_fd=at))
        except OSError as error:
            kind = Unsupported if error.errno == errno.EINVAL else None
            raise (kind(f"{names.escape(path)}: not a link") if kind else store_error(error, path)) from error

    # ------------------------------------------------------------ on the way

    def held(self, folder: bytes) -> int:
        """A descriptor of a folder, good until this thread asks for another.  Raises OSError."""
        return self._folders.at(folder)

    def contents(self, folder: bytes, entries: Sequence[Entry]) -> Iterator[bytes | None]:
        """See `ReadsSmall`."""
        try:
            at = self.held(folder)
        except (OSError, Unsafe):
            yield from [None] * len(entries)
            return
        for entry in entries:
            try:
                opened = self._opened(at, entry[0], READ)
            except OSError:
                yield None
                continue
            try:
                yield plain(opened, entry, self._attributes)
            finally:
                os.close(opened)

    def _at(self, path: bytes) -> tuple[int, bytes]:
        """A descriptor of the parent, and the name in it.  Raises OSError, `Unsafe`."""
        folder, _, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            if path == b"":
                return self._root, b"."
            raise Unsafe(f"{names.escape(path)}: not a path below the root")
        return self._folders.at(folder), name

    def _in_folder(self, path: bytes, deed: Callable[[int, bytes], _T]) -> _T:
        """Do it in the parent folder; once more if that was replaced since it was opened."""
        at, name = self._at(path)
        try:
            return deed(at, name)
        except FileNotFoundError:
            if not self._folders.forget_if_gone(names.parent(path)):
                raise
        at, name = self._at(path)
        return deed(at, name)

    def _status(self, path: bytes) -> os.stat_result:
        return self._in_folder(path, lambda at, name: os.stat(name, dir_fd=at, follow_symlinks=False))

    def _opened(self, at: int, name: bytes, flags: int) -> int:
        """Opened without a new access time, where that is allowed."""
        try:
            return os.open(name, flags | os.O_NOATIME, dir_fd=at)
        except PermissionError:
            # Only the owner may ask for that.
            return os.open(name, flags, dir_fd=at)

    def close(self) -> None:
        self._folders.close()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1


def _above(path: bytes) -> Iterator[bytes]:
    """The folders that a path leads through, the root last."""
    while path:
        path = names.parent(path)
        yield path
