"""A folder of this machine as source or target; the store behind `LocalMount`.

`posix_source` is its reading half.  New files are written in place: until their last step they have no right but
the owner's and a time that is not the source's, so the next run sees them as different.  Existing ones are
replaced by a rename.  Called by the engine through the port.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress

from wherry.model import names
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import Conflict, LeaseLost, NotFound, StoreError, Unsupported
from wherry.stores.port import Content, Fence, Store, StoreSpec, no_fence
from wherry.stores.posix_copy import Birth, birth, dress, dress_new, fill, is_small, write_at
from wherry.stores.posix_draft import Place, PosixDraft
from wherry.stores.posix_fd import FOLDER, store_error, sync_file_system
from wherry.stores.posix_lane import PosixLane
from wherry.stores.posix_reader import UNFINISHED
from wherry.stores.posix_root import check_rights, mounts_below
from wherry.stores.posix_source import LIST, PosixSource

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KNOWN_BIRTHS = 64


class PosixStore(PosixSource):
    """See the module, and `PosixSource` for how it is made."""

    def __init__(self, spec: StoreSpec, fence: Fence = no_fence, modern: bool = True) -> None:
        super().__init__(spec, fence, modern)
        # By folder; what a folder does to new files changes only by `describe`.
        self._births: dict[bytes, Birth] = {}

    # ------------------------------------------------------------ writing files

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        try:
            # Before the last look at the source, which a change of them would not pass.
            attributes = content.attributes() if self._attributes else ()
            # A small file is read and checked before anything is made.
            data = content.whole() if is_small(content) else None
            if expect is None:
                self._create(path, content, data, like, attributes)
                return

            def write(at: int, name: bytes) -> None:
                made = os.open(name, _NEW, 0o600, dir_fd=at)
                try:
                    self._write(made, names.parent(path), content, data, like, attributes)
                finally:
                    os.close(made)

            self._replace(path, expect, write)
        except OSError as error:
            raise store_error(error, path) from error

    def _create(
        self,
        path: bytes,
        content: Content,
        data: bytes | memoryview | None,
        like: Entry,
        attributes: Attributes,
    ) -> None:
        at, name = self._at(path)
        self._fence()
        try:
            made = os.open(name, _NEW, 0o600, dir_fd=at)
        except FileNotFoundError:
            made = self._in_folder(path, lambda at, name: os.open(name, _NEW, 0o600, dir_fd=at))
        self._target = True
        inode = 0
        try:
            try:
                self._write(made, path[: -len(name) - 1], content, data, like, attributes)
            except BaseException:
                inode = os.fstat(made).st_ino
                raise
            finally:
                os.close(made)
        except (StoreError, OSError):
            self._take_back(path, inode)
            raise

    def _write(
        self,
        made: int,
        folder: bytes,
        content: Content,
        data: bytes | memoryview | None,
        like: Entry,
        attributes: Attributes,
    ) -> None:
        born = self._births.get(folder) or self._learn(folder, made)
        if data is None:
            fill(made, content, self._fence)
            content.check()
            self._fence()
        elif data:
            write_at(made, data, 0)
        dress_new(made, like, self._owner, born, attributes)

    def _learn(self, folder: bytes, made: int) -> Birth:
        if len(self._births) >= _KNOWN_BIRTHS:
            self._births.clear()
        born = self._births[folder] = birth(made)
        return born

    def draft(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> PosixDraft:
        def begin(at: int, _: bytes) -> PosixDraft:
            folder = os.dup(at)
            place = Place(
                path, folder, expect is not None, lambda: self._as_expected(path, expect), self._fence,
                self._owner, self._attributes,
            )  # fmt: skip
            try:
                return PosixDraft(place, content, like)
            except BaseException:
                os.close(folder)
                raise

        try:
            self._as_expected(path, expect)
            self._fence()
            self._target = True
            return self._in_folder(path, begin)
        except OSError as error:
            raise store_error(error, path) from error

    def _as_expected(self, path: bytes, expect: Entry | None) -> None:
        if self._expect(path, expect) is not None and expect is None:
            raise Conflict(f"{names.escape(path)}: something is there")

    def _take_back(self, path: bytes, inode: int) -> None:
        """Remove what could not be finished, unless a successor has put something else in its place."""
        with suppress(OSError, LeaseLost):
            self._fence()
            if not inode or self._status(path).st_ino == inode:
                self._in_folder(path, lambda at, name: os.unlink(name, dir_fd=at))

    def _replace(self, path: bytes, expect: Entry, write: Callable[[int, bytes], None]) -> None:
        """Write under a temporary name, look again at what is there, rename."""

        def renew(at: int, name: bytes) -> None:
            temporary = names.TEMPORARY + secrets.token_hex(8).encode()
            try:
                write(at, temporary)
                self._expect(path, expect)
                self._fence()
                os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=at)
                raise

        self._fence()
        self._target = True
        self._in_folder(path, renew)

    # ------------------------------------------------------------ the short way

    def lane(self, source: Store) -> PosixLane | None:
        return PosixLane(source, self) if isinstance(source, PosixSource) else None

    def changing(self) -> Fence:
        """The fence, to be passed right before each change that somebody else makes here."""
        self._target = True
        return self._fence

    def finish(self, made: int, folder: bytes, name: bytes, data: bytes, like: Entry) -> bool:
        """Fill, dress and close a file that was just made; False when that failed and it was taken back."""
        whole = False
        inode = 0
        try:
            if not data or os.write(made, data) == len(data):
                born = self._births.get(folder) or self._learn(folder, made)
                dress_new(made, like, self._owner, born, ())
                whole = True
        except (OSError, StoreError):
            whole = False
        finally:
            if not whole:
                inode = os.fstat(made).st_ino
            try:
                os.close(made)
            except OSError:
                # A file system of another machine tells only now what it could not write.
                whole = False
        if not whole:
            self._take_back(folder + b"/" + name if folder else name, inode)
        return whole

    # ------------------------------------------------------------ folders, links, metadata

    def make_folder(self, path: bytes) -> None:
        self._births.pop(path, None)
        self._fence()
        self._target = True
        try:
            self._in_folder(path, lambda at, name: os.mkdir(name, UNFINISHED, dir_fd=at))
        except FileExistsError:
            present = self.stat(path)
            if present is None or present.kind is not Kind.FOLDER:
                raise Conflict(f"{names.escape(path)}: something else than a folder is there") from None
            if not self._is_spelled(path):
                raise Conflict(f"{names.escape(path)}: a folder of another spelling is there") from None
        except OSError as error:
            raise store_error(error, path) from error

    def _is_spelled(self, path: bytes) -> bool:
        """Whether the very name is there: a file system may find `DIR` by the name `dir`."""
        return any(entry.name == names.basename(path) for entry in self.list(names.parent(path)))

    def describe(
        self, path: bytes, like: Entry, expect: Entry | None, attributes: Attributes | None = None
    ) -> None:
        try:
            present = self._expect(path, expect)
            if present is None:
                raise NotFound(f"{names.escape(path)}: no such item")
            if expect is None:
                raise Conflict(f"{names.escape(path)}: something is there")
            self._fence()
            self._target = True
            self._births.pop(path, None)
            if present.kind is Kind.LINK:
                self._in_folder(path, lambda at, name: self._dress_link(at, name, like))
            elif present.kind is Kind.SPECIAL:
                raise Unsupported(f"{names.escape(path)}: neither file, folder nor link")
            else:
                self._dress(path, present.kind is Kind.FOLDER, like, attributes)
        except OSError as error:
            raise store_error(error, path) from error

    def _dress(self, path: bytes, folder: bool, like: Entry, attributes: Attributes | None) -> None:
        # By a descriptor, which can not be led elsewhere meanwhile, and one that needs no right to read.
        opened = self._opener.open(path, FOLDER if folder else os.O_PATH | os.O_NOFOLLOW)
        try:
            dress(
                b"/proc/self/fd/%d" % opened,
                like,
                self._owner,
                folder,
                attributes if self._attributes else None,
            )
        finally:
            os.close(opened)

    def _dress_link(self, at: int, name: bytes, like: Entry) -> None:
        if self._owner and like.uid is not None and like.gid is not None:
            os.chown(name, like.uid, like.gid, dir_fd=at, follow_symlinks=False)
        if like.modified is not None:
            os.utime(name, ns=(like.modified, like.modified), dir_fd=at, follow_symlinks=False)

    def make_symlink(self, path: bytes, text: bytes, like: Entry, expect: Entry | None) -> None:
        def write(at: int, name: bytes) -> None:
            os.symlink(text, name, dir_fd=at)
            self._dress_link(at, name, like)

        try:
            if expect is not None:
                self._replace(path, expect, write)
                return
            self._fence()
            self._target = True
            self._in_folder(path, write)
        except OSError as error:
            raise store_error(error, path) from error

    def make_link(self, path: bytes, existing: bytes, expect: Entry | None) -> None:
        try:
            # Duplicated, because to reach the other folder may close the kept descriptor of the first.
            kept, old = self._at(existing)
            source = os.dup(kept)
            try:
                self._link(source, old, path, expect)
            finally:
                os.close(source)
        except OSError as error:
            raise store_error(error, path) from error

    def _link(self, source: int, old: bytes, path: bytes, expect: Entry | None) -> None:
        def write(at: int, name: bytes) -> None:
            os.link(old, name, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)

        if expect is None:
            self._fence()
            self._target = True
            self._in_folder(path, write)
            return
        present = self._expect(path, expect)
        wanted = os.stat(old, dir_fd=source, follow_symlinks=False)
        # To rename one name of a file over another one does nothing and leaves both.
        if present is not None and (present.device, present.inode) != (wanted.st_dev, wanted.st_ino):
            self._replace(path, expect, write)

    def remove(self, path: bytes, expect: Entry) -> None:
        try:
            present = self.stat(path)
            if present is None:
                raise NotFound(f"{names.escape(path)}: no such item")
            _check_same(path, present, expect)
            self._fence()
            self._target = True
            if present.kind is Kind.FOLDER:
                self._remove_folder(path)
            else:
                self._in_folder(path, lambda at, name: os.unlink(name, dir_fd=at))
        except OSError as error:
            raise store_error(error, path) from error

    def _remove_folder(self, path: bytes) -> None:
        at, name = self._at(path)
        try:
            os.rmdir(name, dir_fd=at)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # What an agent that is long gone has left in it must not keep it for ever.
            if any(True for _ in self.list(path)):
                raise
            os.rmdir(name, dir_fd=at)

    # ------------------------------------------------------------ durability and end

    def check_rights(self) -> None:
        try:
            check_rights(self._root)
        except OSError as error:
            raise store_error(error, b"") from error

    def sync(self) -> None:
        try:
            sync_file_system(self._root)
            for mounted in mounts_below(self._root):
                # Not what was unmounted meanwhile, nor what none of us may even list.
                with suppress(FileNotFoundError, PermissionError):
                    self._sync_mount(mounted)
        except OSError as error:
            raise store_error(error, b"") from error

    def _sync_mount(self, path: bytes) -> None:
        opened = self._opener.open(path, LIST)
        try:
            sync_file_system(opened)
        finally:
            os.close(opened)

    def _expect(self, path: bytes, expect: Entry | None) -> Entry | None:
        """What is there now, if it is what was expected to be there."""
        present = self.stat(path)
        if expect is not None:
            if present is None:
                raise Conflict(f"{names.escape(path)}: it is gone")
            _check_same(path, present, expect)
        return present


def _check_same(path: bytes, present: Entry, expect: Entry) -> None:
    if not present.is_same(expect):
        raise Conflict(f"{names.escape(path)}: it is not what was seen")
