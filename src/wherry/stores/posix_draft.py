"""A large file that several threads write, under a temporary name until it is whole.

The name is derived from the version of the source, so that a later attempt finds what an earlier one has left.  How
far that came stands in an extended attribute of the draft and is believed only on the machine that wrote it, until
that starts anew: what was not synced may be lost then.  A lock keeps two writers apart.  Called by `posix`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from wherry.model import names
from wherry.model.entry import Entry
from wherry.model.errors import Changed, Conflict, LeaseLost, StoreError
from wherry.stores.port import Content, Fence
from wherry.stores.posix_copy import copy_data, data_in, dress, settle_size
from wherry.stores.posix_fd import file_system_type, rename_new, store_error

RANGE_SIZE = 64 << 20
# So that the progress of the largest file fits where a file system keeps attributes.
_MOST_RANGES = 16_384
_MIB = 1 << 20
_PROGRESS = b"user.wherry.done"
# File systems of this machine's own: ext4, XFS, Btrfs, F2FS, overlay, tmpfs.
_NEAR = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x794C7630, 0x01021994})
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """Where the draft becomes a file: `expected` raises `Conflict` unless what is there was expected."""

    path: bytes
    folder: int
    replaces: bool
    expected: Callable[[], object]
    fence: Fence
    owner: bool
    attributes: bool


class PosixDraft:
    """See the module.  It owns the descriptor `place.folder`."""

    def __init__(self, place: Place, content: Content, like: Entry) -> None:
        self._place = place
        self._content = content
        self._like = like
        needed = -(-content.size // _MOST_RANGES)
        self._range = RANGE_SIZE if needed <= RANGE_SIZE else -(-needed // _MIB) * _MIB
        self._version = _version(place.path, content.entry)
        self._lock = threading.Lock()
        self._open = True
        self._useless = False
        self._noted = False
        self._resumed = False
        self._name, self._made = _begin(place.folder, self._version[:16])
        try:
            self._done = self._progress()
            self._due = self._missing()
        except BaseException:
            os.close(self._made)
            raise

    @property
    def alone(self) -> bool:
        # They lock a file while it is written to, and whoever waits for that lock spins: where reading takes no
        # time, two threads take twice the processor's time of one, and longer.
        source = self._content.reader.fileno()
        return source is not None and {file_system_type(source), file_system_type(self._made)} <= _NEAR

    def ranges(self) -> list[tuple[int, int]]:
        with self._lock:
            return sorted(self._due.items())

    def _missing(self) -> dict[int, int]:
        """Where something is still to be written, at most once a range, and how much."""
        size = self._range
        found: dict[int, int] = {}
        last = begin = -1
        for start, stop in data_in(self._content.reader.fileno(), 0, self._content.size):
            for number in range(start // size, -(-stop // size)):
                end = min(stop, (number + 1) * size)
                if number == last:
                    found[begin] = end - begin
                elif not self._done[number >> 3] >> (number & 7) & 1:
                    last, begin = number, max(start, number * size)
                    found[begin] = end - begin
        return found

    def write(self, offset: int, size: int) -> None:
        try:
            copy_data(self._made, self._content, offset, offset + size, self._place.fence)
            self._keep(offset, size)
        except OSError as error:
            raise store_error(error, self._place.path) from error
        except Changed:
            self._useless = True
            raise

    def finish(self) -> None:
        try:
            self._finish()
        except (Changed, Conflict):
            self._useless = True
            raise
        except FileExistsError as error:
            self._useless = True
            raise store_error(error, self._place.path) from error
        except OSError as error:
            raise store_error(error, self._place.path) from error
        self._close()

    def _finish(self) -> None:
        place = self._place
        if self._due:
            raise StoreError(f"{names.escape(place.path)}: not all of it is written")
        attributes = self._content.attributes() if place.attributes else ()
        self._content.check()
        place.fence()
        settle_size(self._made, self._content)
        if self._resumed:
            self._settle()
        place.expected()
        # This takes the note of progress away, too.
        dress(self._made, self._like, place.owner, attributes=attributes)
        place.expected()
        place.fence()
        name = names.basename(place.path)
        if place.replaces:
            os.rename(self._name, name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
        else:
            rename_new(place.folder, self._name, name)

    def _settle(self) -> None:
        """Have the system tell what it could not write of that which an earlier attempt believed written."""
        try:
            os.fsync(self._made)
        except OSError:
            self._useless = True
            raise

    def discard(self) -> None:
        if not self._open:
            return
        if self._useless or not self._noted:
            with suppress(OSError, LeaseLost):
                self._place.fence()
                there = os.stat(self._name, dir_fd=self._place.folder, follow_symlinks=False)
                if there.st_ino == os.fstat(self._made).st_ino:
                    os.unlink(self._name, dir_fd=self._place.folder)
        self._close()

    def _close(self) -> None:
        self._open = False
        os.close(self._made)
        os.close(self._place.folder)

    # ------------------------------------------------------------ progress

    def _note(self, done: bytes) -> bytes:
        return f"{_boot()} {self._version} {self._range} ".encode() + done

    def _progress(self) -> bytearray:
        """What is done already; a draft of which that is not known is emptied."""
        none = bytearray(-(-self._content.size // self._range) // 8 + 1)
        head = self._note(b"")
        with suppress(OSError):
            note = os.getxattr(self._made, _PROGRESS)
            if _boot() and note.startswith(head) and len(note) == len(head) + len(none):
                self._noted = self._resumed = True
                return bytearray(note[len(head) :])
        if os.fstat(self._made).st_size:
            self._place.fence()
            os.ftruncate(self._made, 0)
        return none

    def _keep(self, offset: int, size: int) -> None:
        with self._lock:
            if self._due.get(offset) != size:
                return  # Not what `ranges` has told, or told twice.
            del self._due[offset]
            number = offset // self._range
            self._done[number >> 3] |= 1 << (number & 7)
            # Whoever cannot keep it begins anew.
            with suppress(OSError):
                os.setxattr(self._made, _PROGRESS, self._note(bytes(self._done)))
                self._noted = True


@cache
def _boot() -> str:
    """Tells one start of this machine from another; empty when that cannot be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _version(path: bytes, entry: Entry) -> str:
    told = f"{entry.size} {entry.modified} {entry.changed} {entry.device} {entry.inode} {entry.etag} "
    return hashlib.sha256(told.encode() + path).hexdigest()[:32]


def _begin(folder: int, stem: str) -> tuple[bytes, int]:
    """The name and a descriptor of a draft that is ours alone: the one of this stem, new or found, or another."""
    name = names.TEMPORARY + stem.encode()
    for _ in range(2):
        with suppress(FileNotFoundError):
            opened = _new_or_found(folder, name)
            if _lock(opened) and _is_own(folder, name, opened):
                return name, opened
            os.close(opened)
            break
    name = names.TEMPORARY + secrets.token_hex(8).encode()
    opened = os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    _lock(opened)
    return name, opened


def _new_or_found(folder: int, name: bytes) -> int:
    try:
        return os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    except FileExistsError:
        return os.open(name, _OPEN, dir_fd=folder)


def _lock(opened: int) -> bool:
    """Whether nobody else works on it; also when the file system has no locks."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _is_own(folder: int, name: bytes, opened: int) -> bool:
    """Not something that somebody has put there to have us write into it, nor what was just finished."""
    found = os.fstat(opened)
    there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    plain = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    return plain and found.st_uid == os.geteuid() and found.st_ino == there.st_ino


def in_use(folder: int, name: bytes) -> bool:
    """Whether somebody works on this draft now."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        return not _lock(opened)
    finally:
        os.close(opened)
