"""Bytes into an open file, and its metadata onto it.

Of all but small files the kernel copies the data and leaves holes where the source has some, as long as nobody
has to see the bytes.  Called by `posix` with descriptors that it made.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from wherry.model.entry import Attributes, Entry
from wherry.model.errors import Changed
from wherry.stores.port import Content, Fence
from wherry.stores.posix_attributes import attribute_names, set_mode_and_attributes
from wherry.stores.posix_fd import permissions

# Up to here a file is one read and one write, from here on the kernel is quicker.
SMALL = 128 << 10
_PAGE = 4096
_PIECE = 4 << 20
# How much the kernel copies between two looks at the lease.
_STRIDE = 64 << 20

_UNKNOWN_FILE_MODE = 0o644
_UNKNOWN_FOLDER_MODE = 0o755
_WITHOUT_OWNER = 0o1777


def is_small(content: Content) -> bool:
    """Whether to write it in one piece: not when it has holes that can stay holes."""
    size = content.size
    return size <= _PAGE or (size <= SMALL and not getattr(content.reader, "sparse", False))


def fill(target: int, content: Content, fence: Fence) -> None:
    """Write the whole content of a large file; exactly `content.size` bytes or an error."""
    copy_data(target, content, 0, content.size, fence)
    settle_size(target, content)


def copy_data(target: int, content: Content, begin: int, end: int, fence: Fence) -> None:
    """Copy what lies between these offsets, but no holes; several threads may do it at once."""
    source = content.reader.fileno()
    for start, stop in data_in(source, begin, end):
        at = start
        while at < stop:
            fence()
            at += _copy(source, target, content, at, min(stop - at, _STRIDE))


def settle_size(target: int, content: Content) -> None:
    """Give a file that ends in a hole its length."""
    if os.fstat(target).st_size >= content.size:
        return
    source = content.reader.fileno()
    # Or it was cut off meanwhile.
    if source is not None and os.fstat(source).st_size < content.size:
        raise Changed(f"it is shorter than {content.size} bytes")
    os.ftruncate(target, content.size)


def data_in(source: int | None, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the source holds data between these offsets; everywhere when that cannot be told."""
    if begin >= end:
        return
    if source is None or not _has_holes(source):
        yield begin, end
        return
    at = begin
    while at < end:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            yield at, end
            return
        if start >= end:
            return
        at = min(os.lseek(source, start, os.SEEK_HOLE), end)
        yield start, at


def _has_holes(source: int) -> bool:
    found = os.fstat(source)
    return found.st_blocks * 512 < found.st_size


def _copy(source: int | None, target: int, content: Content, offset: int, size: int) -> int:
    """Copy some of the `size` bytes at `offset`; how many they were."""
    if source is not None:
        try:
            copied = os.copy_file_range(source, target, size, offset, offset)
        except OSError as error:
            if error.errno not in _NOT_BY_THE_KERNEL:
                raise
            copied = 0
        if copied:
            return copied
    piece = content.read(offset, min(size, _PIECE))
    write_at(target, piece, offset)
    return len(piece)


# An I/O error comes again when we read and write ourselves, and then tells on which side it is.
_NOT_BY_THE_KERNEL = frozenset({
    errno.EIO, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EBADF, errno.ETXTBSY
})  # fmt: skip


def write_at(target: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data`."""
    done = os.pwrite(target, data, offset)
    while done < len(data):
        more = os.pwrite(target, memoryview(data)[done:], offset + done)
        if not more:
            raise Changed("the target takes no more bytes")
        done += more


class Birth(NamedTuple):
    """The owner that a new file gets by itself in some folder, and whether it inherits attributes there."""

    uid: int
    gid: int
    inherits: bool


def birth(made: int) -> Birth:
    """What became of a file that was just made."""
    found = os.fstat(made)
    return Birth(found.st_uid, found.st_gid, bool(attribute_names(made)))


def dress_new(made: int, like: Entry, owner: bool, born: Birth, attributes: Attributes) -> None:
    """All metadata onto a file that was just made, by its descriptor."""
    if attributes or born.inherits:
        dress(made, like, owner, attributes=attributes)
        return
    # By number, because it is done with every file.
    modified, mode, uid, gid = like[3], like[5], like[6], like[7]
    mode = _UNKNOWN_FILE_MODE if mode is None else mode
    if owner and uid is not None and gid is not None:
        if born.uid != uid or born.gid != gid:
            os.chown(made, uid, gid)
        os.chmod(made, mode & permissions())
    else:
        os.chmod(made, mode & _WITHOUT_OWNER)
    if modified is not None:
        os.utime(made, ns=(modified, modified))


def dress(
    target: int | bytes, like: Entry, owner: bool, folder: bool = False, attributes: Attributes | None = None
) -> None:
    """Owner, mode, attributes and times of `like`, in this order: each takes something of those after it along.

    `target` is a descriptor, or the path of one below `/proc/self/fd`; attributes that are None stay as they are.
    """
    mode = like.mode
    if mode is None:
        mode = _UNKNOWN_FOLDER_MODE if folder else _UNKNOWN_FILE_MODE
    # Set-user-id of somebody else's file must not become set-user-id of ours.
    bits = _WITHOUT_OWNER
    if owner and like.uid is not None and like.gid is not None:
        os.chown(target, like.uid, like.gid)
        bits = permissions()
    if attributes is None:
        os.chmod(target, mode & bits)
    else:
        set_mode_and_attributes(target, mode & bits, attributes)
    if like.modified is not None:
        os.utime(target, ns=(like.modified, like.modified))
