"""The root of a folder store: where it may lie, how it is opened, how it is told apart.

`StoreSpec.beneath` names the folder that the machine's owner allows; a root must lie in it when every link is
followed, and never in or around a place of the system itself.  Called by `posix` only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from wherry.model import names
from wherry.model.errors import Denied, Unsafe
from wherry.stores.port import Fence, StoreSpec
from wherry.stores.posix_fd import FOLDER, Opener, file_system_type, store_error

SYSTEM_PLACES = (b"/etc", b"/proc", b"/sys", b"/dev")
_SYSTEM_TYPES = (0x9FA0, 0x62656572)  # procfs, sysfs, wherever they are mounted

# Steps in which a file system keeps times, in ns, where they are coarser than one.
_TIME_STEPS = {
    0x4D44: 2_000_000_000,  # FAT
    0x2011BAB0: 10_000_000,  # exFAT
    0x482B: 1_000_000_000,  # HFS+
    0x5346544E: 100,  # NTFS
    0x7366746E: 100,  # NTFS, the newer driver
    0xFF534D42: 100,  # CIFS
    0xFE534D42: 100,  # SMB 2
}

_ANY_TIME = (0x01021994, 0x9123683E)  # tmpfs, btrfs
_EARLIEST = (-(2**31) * 10**9,)
_LATEST = tuple(one * 10**9 for one in (2**31 - 1, 2**32 - 1, 15_032_385_535, 16_299_260_424, 16_299_260_425))
"""Where the times of ext and xfs end, in the forms that they have had, and what others here may lie on."""


def open_root(spec: StoreSpec, fence: Fence, modern: bool = True) -> int:
    """A descriptor of the root, readable for `syncfs`.  Raises `Unsafe`, `NotFound`, `Denied`."""
    location = os.path.realpath(os.fsencode(spec.location))
    whole = os.path.realpath(location + b"/" + spec.subpath) if spec.subpath else location
    base = os.path.realpath(os.fsencode(spec.beneath)) if spec.beneath else b"/"
    if not _inside(location, base) or not _inside(whole, location):
        raise Unsafe(f"{names.escape(whole)} does not lie in {names.escape(base)}, where it has to.")
    try:
        base_fd = os.open(base, FOLDER)
        try:
            opened = _open_below(base_fd, os.path.relpath(whole, base), spec.create, fence, modern)
        finally:
            os.close(base_fd)
    except OSError as error:
        raise store_error(error, whole) from error
    if spec.beneath:
        _refuse_places(opened, whole, [*SYSTEM_PLACES, *(os.fsencode(one) for one in spec.refused)])
    return opened


def check_rights(root: int) -> None:
    """Raise `Denied` when nothing at all can be changed below a root.  Raises OSError."""
    if os.fstatvfs(root).f_flag & os.ST_RDONLY:
        raise Denied("its file system may only be read")
    if os.access(".", os.W_OK | os.X_OK, dir_fd=root, effective_ids=True):
        return
    # Its folders may have other rights.
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    try:
        with os.scandir(here) as inside:
            if not any(entry.is_dir(follow_symlinks=False) for entry in inside):
                raise Denied("nothing may be made in the folder")
    finally:
        os.close(here)


def _inside(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _open_below(base: int, path: bytes, create: bool, fence: Fence, modern: bool) -> int:
    opener = Opener(base, modern)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return opener.open(path, flags)
    except FileNotFoundError:
        if not create:
            raise
    parts = names.parts(path)
    for count in range(1, len(parts) + 1):
        above = opener.open(names.SEPARATOR.join(parts[: count - 1]), FOLDER)
        try:
            fence()
            os.mkdir(parts[count - 1], dir_fd=above)
        except FileExistsError:
            pass
        finally:
            os.close(above)
    return opener.open(path, flags)


def _refuse_places(opened: int, path: bytes, places: Iterable[bytes]) -> None:
    """Refuse a root in a system place, by name and by identity (a bind mount has another name), or around one."""
    identities = set()
    trouble = Unsafe(f"{names.escape(path)} is a place of the system itself and never a source or target.")
    try:
        for place in places:
            resolved = os.path.realpath(place)
            if _inside(path, resolved) or _inside(resolved, path):
                raise trouble
            if os.path.exists(resolved):
                found = os.stat(resolved)
                identities.add((found.st_dev, found.st_ino))
        if file_system_type(opened) in _SYSTEM_TYPES or identities & set(_above(opened)):
            raise trouble
    except (OSError, Unsafe) as error:
        os.close(opened)
        raise store_error(error, path) if isinstance(error, OSError) else error from None


def _above(opened: int) -> Iterable[tuple[int, int]]:
    """Device and inode of the folder and of all above it."""
    at = os.dup(opened)
    try:
        below = None
        while (here := (os.fstat(at).st_dev, os.fstat(at).st_ino)) != below:
            yield here
            above = os.open(b"..", FOLDER, dir_fd=at)
            os.close(at)
            at, below = above, here
    finally:
        os.close(at)


def identity(root: int) -> str:
    """What is really there.

    The number of the device changes from boot to boot; the id of the file system does not.
    """
    found, system = os.fstat(root), os.statvfs(root)
    place = names.escape(os.readlink(f"/proc/self/fd/{root}".encode()))
    return f"posix:{system.f_fsid & (2**64 - 1):x}:{found.st_ino}:{place}"


def mounts_below(root: int) -> Iterator[bytes]:
    """Where other file systems are mounted in the folder, as paths relative to it."""
    place = os.readlink(f"/proc/self/fd/{root}".encode()).rstrip(b"/") + b"/"
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            # What would part the fields is written in octal.
            mounted = re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), line.split(b" ")[4])
            if mounted.startswith(place):
                yield mounted[len(place) :]


def time_limits(root: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The times, in ns, that the root's file system may keep in place of earlier and of later ones."""
    return ((), ()) if file_system_type(root) in _ANY_TIME else (_EARLIEST, _LATEST)


def time_step(root: int) -> int:
    """The precision of modified times on the root's file system, in ns."""
    return _TIME_STEPS.get(file_system_type(root), 1)
