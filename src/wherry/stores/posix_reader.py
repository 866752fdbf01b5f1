"""What a `stat` of the system says as an entry, and open files of a folder store.  Called by `posix` only."""

from __future__ import annotations

import errno
import os
import stat
from threading import get_ident

from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import SourceFailed
from wherry.stores.posix_attributes import attributes_of
from wherry.stores.posix_fd import store_error

UNFINISHED = 0o1700
"""The mode of a folder that a run has made and not finished."""

# A folder takes the set-group-id bit from the one that it is made in.
_INHERITED = 0o2000
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK}
_REUSED_BUFFER = 128 * 1024


def entry_of(name: bytes, found: os.stat_result) -> Entry:
    """The entry that a `stat` makes."""
    kind = _KINDS.get(found.st_mode & 0o170000, Kind.SPECIAL)
    mode = found.st_mode & 0o7777
    is_file, is_folder = kind is Kind.FILE, kind is Kind.FOLDER
    return Entry._make((
        name, kind, found.st_size if is_file else 0, found.st_mtime_ns, found.st_ctime_ns, mode, found.st_uid,
        found.st_gid, 1 if is_folder else found.st_nlink, found.st_dev, found.st_ino, "",
        not is_folder or mode & ~_INHERITED != UNFINISHED, (), None,
    ))  # fmt: skip


def plain(opened: int, version: Entry, attributed: bool) -> bytes | None:
    """The bytes of a small plain file without attributes, if it still is this version; None of any other.  Quick."""
    size = version[2]
    try:
        # One byte more than there should be: of a plain file, less than was asked for is the end.
        data = os.pread(opened, size + 1, 0)
        now = os.fstat(opened)
        _, inode, device, _, _, _, length, _, _, _ = now
        if (
            len(data) != size
            or length != size
            or now.st_ctime_ns != version[4]
            or now.st_mtime_ns != version[3]
            or inode != version[10]
            or device != version[9]
            or version[11]
            or (attributed and os.listxattr(opened))
        ):
            return None
    except OSError:
        return None
    return data


class PosixReader:
    """An open file.  Until its first byte is read, what was seen when it was opened is what it is."""

    __slots__ = ("_attributes", "_buffers", "_descriptor", "_name", "_seen")

    def __init__(self, name: bytes, descriptor: int, seen: os.stat_result | None, attributes: bool) -> None:
        self._name = name
        self._descriptor = descriptor
        self._seen = seen
        # By thread: each may read while others do.
        self._buffers: dict[int, bytearray] = {}
        self._attributes = attributes

    @property
    def sparse(self) -> bool:
        """Whether it has fewer blocks than bytes."""
        seen = self._seen or os.fstat(self._descriptor)
        return seen.st_blocks * 512 < seen.st_size

    def read_at(self, offset: int, size: int) -> bytes | memoryview:
        self._seen = None
        try:
            if size < _REUSED_BUFFER:
                return os.pread(self._descriptor, size, offset)
            buffer = self._buffers.get(thread := get_ident())
            if buffer is None or len(buffer) < size:
                buffer = self._buffers[thread] = bytearray(size)
            room = memoryview(buffer)[:size]
            return room[: os.preadv(self._descriptor, [room], offset)]
        except OSError as error:
            raise store_error(error, self._name) from error

    def whole(self, version: Entry, check: bool) -> bytes | None:
        self._seen = None
        size = version.size
        try:
            # One byte more than there should be: of a plain file, less than was asked for is the end.
            data = os.pread(self._descriptor, size + 1, 0)
            if len(data) != size:
                return None
            if check:
                now = os.fstat(self._descriptor)
                if (
                    now.st_ctime_ns != version.changed
                    or now.st_mtime_ns != version.modified
                    or now.st_size != size
                    or now.st_ino != version.inode
                    or now.st_dev != version.device
                    or version.etag
                ):
                    return None
        except OSError:
            return None
        return data

    def fileno(self) -> int:
        self._seen = None
        return self._descriptor

    def entry(self) -> Entry:
        try:
            return entry_of(self._name, self._seen or os.fstat(self._descriptor))
        except OSError as error:
            raise store_error(error, self._name) from error

    def attributes(self) -> Attributes:
        if not self._attributes:
            return ()
        try:
            # Most files have none, which is told here without a further call.
            return attributes_of(self._descriptor) if os.listxattr(self._descriptor) else ()
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return ()
            raise SourceFailed(str(store_error(error, self._name))) from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
