"""Descriptors below a root: how `posix` reaches a folder without ever following a link out of it.

Every open goes by `openat2` with RESOLVE_BENEATH, and RESOLVE_NO_SYMLINKS unless links are to be followed, or, on
kernels and in sandboxes that lack it, part by part: so whoever may write in a tree cannot lead the agent out of it.
Folders
that are in use are kept open, a few for each thread, and closed by that thread alone, so that no descriptor
changes its meaning under a call.  Called by `posix` only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
import weakref
from collections import OrderedDict
from functools import cache

from wherry.model import names
from wherry.model.errors import (
    Conflict,
    Denied,
    Full,
    NotFound,
    StoreError,
    Unavailable,
    Unsafe,
    Unsupported,
)

CHOWN = 0
"""The number of the capability to give files away."""

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_OPENAT2 = 437  # the same number on every architecture
_RENAME_NOREPLACE = 1
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE_FOLLOWING = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS
_RESOLVE = _RESOLVE_FOLLOWING | _RESOLVE_NO_SYMLINKS
_MOST_LINKS = 40
_HERE = (b"", b".", b"..")
# Room for the kernel's limit of 4096 bytes a call; longer paths are opened in stretches.
_STRETCH = 3500
_KEPT_FOLDERS = 16

_libc = ctypes.CDLL(None, use_errno=True)


_syscall = _libc.syscall
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
_syscall.restype = ctypes.c_long
_rename = getattr(_libc, "renameat2", None)


@cache
def _how(flags: int, resolve: int) -> bytes:
    """The kernel's `struct open_how`: flags, mode and ways to resolve."""
    return struct.pack("=QQQ", flags, 0, resolve)


_SIZE_OF_HOW = len(_how(0, 0))


_MEANINGS: dict[type[StoreError], tuple[int, ...]] = {
    NotFound: (errno.ENOENT, errno.ENOTDIR),
    Conflict: (errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR),
    Denied: (errno.EACCES, errno.EPERM, errno.EROFS),
    Full: (errno.ENOSPC, errno.EDQUOT),
    Unsafe: (errno.ELOOP, errno.EXDEV),
    Unsupported: (
        errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EFBIG, errno.EOPNOTSUPP, errno.EMLINK, errno.ENXIO
    ),
}  # fmt: skip
_ERRORS = {number: made for made, numbers in _MEANINGS.items() for number in numbers}


def store_error(error: OSError, path: bytes) -> StoreError:
    """What an error of the system means for the item at `path`; a passing fault when it means nothing else."""
    made = _ERRORS.get(error.errno or 0, Unavailable)
    return made(f"{names.escape(path) or '.'}: {os.strerror(error.errno) if error.errno else error}")


def openat2(at: int, path: bytes, flags: int, follow: bool = False) -> int:
    """Open `path` beneath `at`, through links that stay beneath it or through none at all.  Raises OSError."""
    # Without O_NOFOLLOW, which turns "there is a link" into "that is no folder".
    how = _how((flags | os.O_CLOEXEC) & ~os.O_NOFOLLOW, _RESOLVE_FOLLOWING if follow else _RESOLVE)
    for _ in range(8):
        made: int = _syscall(_OPENAT2, at, path, how, _SIZE_OF_HOW)
        if made >= 0:
            return made
        number = ctypes.get_errno()
        # EAGAIN: something was renamed on the way and the kernel could not tell whether it stayed beneath.
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise _error(number)


@cache
def has_openat2() -> bool:
    """Whether this kernel and sandbox let us call it."""
    here = os.open(b"/", FOLDER)
    try:
        os.close(openat2(here, b".", FOLDER))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return False
        raise
    finally:
        os.close(here)
    return True


def walk_open(at: int, path: bytes, flags: int, follow: bool = False) -> int:
    """What `openat2` does, part by part."""
    left = path.split(b"/")[::-1]
    if b".." in left or path.startswith(b"/"):
        raise _error(errno.EXDEV)
    way, links = [at], 0
    try:
        while True:
            part = left.pop()
            text = _link_text(way[-1], part)
            if text is not None:
                links += 1
                if links > (_MOST_LINKS if follow else 0):
                    raise _error(errno.ELOOP)
                left.extend(text.split(b"/")[::-1])
                continue
            if part == b"..":
                if len(way) == 1:
                    raise _error(errno.EXDEV)
                os.close(way.pop())
            if not left:
                last = b"." if part in _HERE else part
                return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=way[-1])
            if part not in _HERE:
                way.append(os.open(part, FOLDER, dir_fd=way[-1]))
    finally:
        for opened in way[1:]:
            os.close(opened)


def _link_text(at: int, part: bytes) -> bytes | None:
    """Where a link leads, None for what is none.  One that leads off from `/` leaves the root."""
    if part in _HERE or not stat.S_ISLNK(os.stat(part, dir_fd=at, follow_symlinks=False).st_mode):
        return None
    text = os.readlink(part, dir_fd=at)
    if text.startswith(b"/"):
        raise _error(errno.EXDEV)
    return text


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Opener:
    """Opens beneath a root descriptor; `modern` False keeps from `openat2` where it is there.

    With `follow` links lead on as long as they stay beneath; of a very long path, beneath its last stretch.
    """

    def __init__(self, root: int, modern: bool = True, follow: bool = False) -> None:
        self.root = root
        self._follow = follow
        self._open = openat2 if modern and has_openat2() else walk_open

    def open(self, path: bytes, flags: int) -> int:
        """A new descriptor of `path` (the root for `b""`).  Raises OSError."""
        at = self.root
        try:
            while len(path) > _STRETCH:
                cut = path.rfind(b"/", 0, _STRETCH)
                inner = self._open(at, path[:cut], FOLDER, self._follow)
                if at != self.root:
                    os.close(at)
                at, path = inner, path[cut + 1 :]
            return self._open(at, path or b".", flags, self._follow)
        finally:
            if at != self.root:
                os.close(at)


class _Kept:
    """The open folders of one thread, the longest unused first; closed with it."""

    def __init__(self) -> None:
        self.folders: OrderedDict[bytes, int] = OrderedDict()

    def close(self) -> None:
        while self.folders:
            os.close(self.folders.popitem()[1])

    def __del__(self) -> None:
        self.close()


class Folders:
    """Descriptors of the folders that are in use, the latest few for each thread."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._local = threading.local()
        self._all: weakref.WeakSet[_Kept] = weakref.WeakSet()
        self._lock = threading.Lock()

    def at(self, folder: bytes) -> int:
        """A descriptor of `folder`, good until the next call in this thread.  Raises OSError."""
        local = self._local
        # The latest one at hand: in most calls it is the same folder as in the call before.
        if getattr(local, "folder", None) == folder:
            latest: int = local.descriptor
            return latest
        made = self._opener.root if not folder else self._held(folder)
        local.folder, local.descriptor = folder, made
        return made

    def _held(self, folder: bytes) -> int:
        kept = self._kept().folders
        held = kept.get(folder)
        if held is not None:
            kept.move_to_end(folder)
            return held
        made = kept[folder] = self._opener.open(folder, FOLDER)
        if len(kept) > _KEPT_FOLDERS:
            os.close(kept.popitem(last=False)[1])
        return made

    def forget_if_gone(self, folder: bytes) -> bool:
        """Whether the kept descriptor is of a folder that was removed meanwhile; it is kept no longer."""
        kept = self._kept().folders
        held = kept.get(folder)
        if held is None or os.fstat(held).st_nlink:
            return False
        os.close(kept.pop(folder))
        self._local.folder = None
        return True

    def close(self) -> None:
        """Close all; no thread may be at work any more."""
        with self._lock:
            for kept in list(self._all):
                kept.close()

    def _kept(self) -> _Kept:
        kept: _Kept | None = getattr(self._local, "kept", None)
        if kept is None:
            kept = self._local.kept = _Kept()
            with self._lock:
                self._all.add(kept)
        return kept


def rename_new(at: int, old: bytes, new: bytes) -> None:
    """Rename within a folder unless something has the new name.  Raises OSError, as `FileExistsError` then."""
    number = errno.ENOSYS
    if _rename is not None:
        if _rename(at, old, at, new, _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise _error(number)
    # A file system that cannot do it at once: a link has the same condition.
    os.link(old, new, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
    os.unlink(old, dir_fd=at)


def sync_file_system(descriptor: int) -> None:
    """All that was written to the file system of `descriptor` is durable when this returns.  Raises OSError."""
    if _libc.syncfs(descriptor) != 0:
        raise _error(ctypes.get_errno())


def file_system_type(descriptor: int) -> int:
    """The magic number of the file system of `descriptor`; 0 when it cannot be told."""
    answer = (ctypes.c_long * 64)()
    if _libc.fstatfs(descriptor, ctypes.byref(answer)) != 0:
        return 0
    return int(answer[0]) & 0xFFFFFFFF


def may(capability: int) -> bool:
    """Whether this process has a capability of Linux, by its number."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"CapEff:"):
                    return bool(int(line.split()[1], 16) >> capability & 1)
    except OSError:
        pass
    return os.geteuid() == 0


@cache
def permissions() -> int:
    """The bits of a mode that this process may set: confined services may not lend rights by some of them."""
    probe = os.memfd_create("wherry-permissions")
    try:
        os.fchmod(probe, 0o6700)
    except PermissionError:
        return 0o1777
    finally:
        os.close(probe)
    return 0o7777
