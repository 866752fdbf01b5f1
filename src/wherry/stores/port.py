"""The store port: what the engine may ask of a place that holds items, and what an adapter must promise.

An adapter is synchronous, small and used by one thread at a time for each open reader; a `Store` itself may be
used by several threads.  Six methods are mandatory (`probe list stat open put remove`); everything else is a
capability that `Traits` declares as data and one of the protocols below describes.  The engine asks what a
store can do, never what it is.  A store is opened at a root; paths are raw bytes relative to it (`names`).

Promises that `tests/conformance` holds every adapter to:

- a source is never changed, not even its access times where the system allows that;
- `put` makes an item complete or not at all: a reader of the target sees the old item, nothing, or one that
  the next run sees as different;
- a write names what it expects (`expect`): `None` that nothing is there, else the entry that was seen; when
  that does not hold the adapter raises `Conflict` and has changed nothing;
- a local adapter calls its fence right before each visible change, so that a holder whose lease is over
  writes nothing;
- errors are those of `wherry.model.errors`, item troubles as `StoreError`, lost leases as `LeaseLost`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from wherry.model.entry import Attributes, Entry, Glance
from wherry.model.errors import Changed, Corrupt, SourceFailed, StoreError
from wherry.model.plan import Holds
from wherry.model.way import DIRECT, Way

Fence = Callable[[], None]

_MIB = 1024 * 1024


def no_fence() -> None:
    """The fence of whoever needs none: `wherry copy` without other writers."""


@dataclass(frozen=True, slots=True)
class Root:
    """What is really there: `identity` tells another file system or bucket under the same name apart;
    `clock` is the store's own time in ns since 1970, not later than the change time of any later write.
    """

    identity: str
    clock: int


@dataclass(frozen=True, slots=True)
class Traits:
    """The abilities of a store, as data.

    `order`: `bytes` when `list` yields names sorted by raw bytes, else `none`.  `folders`: `real`, or `markers`
    when folders need not exist for what lies in them.  `put_limit`: larger files go in parts (0: never).
    `threads`: the most calls worth having in flight from one process; 1 where threads only cost.  `durable`: the store
    needs `sync` before a commit.
    `bare`: listings tell no more than size and etag; the engine asks `stat` where that leaves a doubt.
    """

    holds: Holds
    order: Literal["bytes", "none"] = "none"
    folders: Literal["real", "markers"] = "real"
    put_limit: int = 0
    part_size: int = 8 * 1024 * 1024
    max_parts: int = 0
    threads: int = 1
    durable: bool = False
    bare: bool = False


class Reader(Protocol):
    """An open file of a source."""

    def read_at(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`; empty only at the end.  Valid until the next call."""

    def fileno(self) -> int | None:
        """The descriptor, where the kernel can copy from it, else None."""

    def entry(self) -> Entry:
        """What is open, as it is now."""

    def close(self) -> None:
        """Let go of it."""


class ReadsWhole(Protocol):
    """A reader that knows the end of a file without a further read."""

    def whole(self, version: Entry, check: bool) -> bytes | None:
        """All bytes if they are as many as `version` has, and (`check`) it is that version after the last one.

        None when that is not so or went wrong: then `read_at` and `entry` tell what it is.
        """


class Content:
    """The bytes of one version of a source file.

    `read` never gives more or less than the version has, and `check` raises `Changed` when the source is not
    that version any more; an adapter calls it after the last byte and before the item becomes complete.
    """

    def __init__(
        self, reader: Reader, entry: Entry, check: bool = True,
        keep: Callable[[Attributes], Attributes] | None = None, besides: Attributes = (),
    ) -> None:  # fmt: skip
        self.reader = reader
        self.entry = entry
        self.size = entry.size
        self._check = check
        self._keep = keep
        self._besides = besides

    def by(self, reader: Reader) -> Content:
        """The same content read by another reader, for another thread."""
        return Content(reader, self.entry, self._check, self._keep, self._besides)

    def attributes(self) -> Attributes:
        """The extended attributes of the open source that are to be kept, and `besides` what stays of the target's.

        A reader has them that has a method `attributes`.
        """
        # Not by `isinstance`: of a protocol it takes longer than to read a small file.
        own: Callable[[], Attributes] | None = getattr(self.reader, "attributes", None)
        found = own() if own is not None else ()
        if found and self._keep is not None:
            found = self._keep(found)
        return tuple(sorted(found + self._besides)) if self._besides else found

    def whole(self) -> bytes | memoryview:
        """All bytes, checked: `read` and `check` in one, and quickly where the reader `ReadsWhole`."""
        quickly: Callable[[Entry, bool], bytes | None] | None = getattr(self.reader, "whole", None)
        data: bytes | memoryview | None = quickly(self.entry, self._check) if quickly is not None else None
        if data is None:
            data = self.read(0, self.size)
            self.check()
        return data

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """Exactly `size` bytes from `offset`, less only at the end of the version."""
        size = min(size, self.size - offset)
        piece = self._piece(offset, size)
        if len(piece) == size:
            return piece
        whole = bytearray(piece)
        while len(whole) < size:
            piece = self._piece(offset + len(whole), size - len(whole))
            if not piece:
                raise Changed(f"it ended after {offset + len(whole)} of {self.size} bytes")
            whole += piece
        if len(whole) > size:
            raise Corrupt(f"the source gives more than the {size} bytes that it was asked for")
        return bytes(whole)

    def _piece(self, offset: int, size: int) -> bytes | memoryview:
        try:
            return self.reader.read_at(offset, size)
        except Changed:
            raise
        except StoreError as error:
            raise SourceFailed(str(error)) from error

    def check(self) -> None:
        """Raise `Changed` unless the source is still the version that was planned for."""
        if len(self._piece(self.size, 1)):
            raise Changed(f"it grew beyond {self.size} bytes")
        if self._check and self.reader.entry().version != self.entry.version:
            raise Changed("size, times or identity are not what they were")


class Store(Protocol):
    """A place that holds items, opened at a root."""

    @property
    def traits(self) -> Traits:
        """What it can do; the first question may ask the service."""

    def probe(self) -> Root:
        """Look at the root now.  `NotFound` or `Denied` when it cannot be used."""

    def list(self, folder: bytes) -> Iterable[Entry]:
        """The entries of one folder.  `NotFound` when it does not exist (a store with markers: never for the root)."""

    def stat(self, path: bytes) -> Entry | None:
        """The entry at `path`, None when nothing is there."""

    def open(self, path: bytes) -> Reader:
        """Open a file for reading."""

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        """Write a whole file with the metadata of `like`."""

    def remove(self, path: bytes, expect: Entry) -> None:
        """Remove a file, a link or an empty folder."""

    def close(self) -> None:
        """Let go of connections and descriptors."""


@runtime_checkable
class ListsNames(Protocol):
    """Lists names apart from what they stand for, so that a wide folder need not be in memory."""

    def names(self, folder: bytes) -> Iterable[bytes]:
        """The names in a folder, in any order.  `NotFound` and the like before the first one."""

    def look(self, folder: bytes, names: Sequence[bytes]) -> list[Entry | None]:
        """What these names of a folder are now; None for what is gone."""


@runtime_checkable
class Glances(ListsNames, Protocol):
    """Can tell what many names are without an entry for each."""

    def glance(self, folder: bytes, names: Sequence[bytes]) -> Glance | None:
        """What these names of a folder, in order, are now; None where they have to be looked at one by one."""


@runtime_checkable
class HasAttributes(Protocol):
    """A source whose items have extended attributes."""

    def attributes(self, path: bytes) -> Attributes:
        """Those of a file or folder."""


@runtime_checkable
class Describes(Protocol):
    """Can change metadata without sending data."""

    def describe(
        self, path: bytes, like: Entry, expect: Entry | None, attributes: Attributes | None = None
    ) -> None:
        """Give a file or folder the metadata of `like`; a folder that has only a prefix gets its marker.

        `attributes` become all that it has, None leaves them as they are.
        """


@runtime_checkable
class MakesFolders(Protocol):
    """Needs a folder to be made before something lies in it (`folders == "real"`)."""

    def make_folder(self, path: bytes) -> None:
        """Make a folder as unfinished (`Entry.sealed` False); one that is there already is left as it is."""


@runtime_checkable
class ReadsLinks(Protocol):
    """Has symbolic links."""

    def read_link(self, path: bytes) -> bytes:
        """What a symbolic link says."""


@runtime_checkable
class HoldsLinks(ReadsLinks, Protocol):
    """Can hold symbolic and hard links."""

    def make_symlink(self, path: bytes, text: bytes, like: Entry, expect: Entry | None) -> None:
        """Write a symbolic link."""

    def make_link(self, path: bytes, existing: bytes, expect: Entry | None) -> None:
        """Make `path` another name of the file at `existing`."""


@runtime_checkable
class TakesParts(Protocol):
    """Takes a large file in parts that are kept until they are published (`put_limit` is not 0)."""

    @property
    def traits(self) -> Traits:
        """As those of the store."""

    def staged(self, path: bytes) -> Mapping[str, int]:
        """Sizes of the parts that are there and not published, by part id."""

    def stage(self, path: bytes, part: str, data: bytes | memoryview) -> None:
        """Keep one part; its checksum is checked by the service."""

    def publish(
        self, path: bytes, parts: Iterable[str], like: Entry, expect: Entry | None, attributes: Attributes = ()
    ) -> None:  # fmt: skip
        """Make the file of these parts, in this order, with the metadata of `like`."""


@runtime_checkable
class BeginsParts(Protocol):
    """Takes the metadata of a large file ahead of its parts (S3), else it has to write it in a second step."""

    def begin(self, path: bytes, parts: Sequence[str], like: Entry, attributes: Attributes = ()) -> None:
        """The file of these parts is to come, with the metadata of `like`: before `staged` and the first `stage`."""


class Draft(Protocol):
    """A file that is being written in ranges and that nobody takes for finished."""

    @property
    def alone(self) -> bool:
        """Whether several writers would only wait for each other."""

    def ranges(self) -> list[tuple[int, int]]:
        """Offset and size of what is still to be written: not the holes, not what an earlier draft holds."""

    def write(self, offset: int, size: int) -> None:
        """Copy one range; by any thread."""

    def finish(self) -> None:
        """Check the source once more and make the file visible with its metadata."""

    def discard(self) -> None:
        """End it after trouble; what a later attempt can go on with stays."""


@runtime_checkable
class TakesRanges(Protocol):
    """A local target: several threads write one large file."""

    def draft(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> Draft:
        """Begin a file, or go on with what an earlier attempt at this version has left."""


def part_size(size: int, traits: Traits) -> int:
    """The size of all parts but the last: that of the store, grown by whole MiB where that makes too many."""
    needed = -(-size // traits.max_parts)
    return traits.part_size if needed <= traits.part_size else -(-needed // _MIB) * _MIB


def part_ids(path: bytes, entry: Entry, size: int) -> list[str]:
    """The ids of the parts of this version of the file, in their order, all of one length.

    Whoever takes over a half-sent file computes the same ids, finds what is there and sends the rest; parts of
    another version never match.  The number of the device is left out, another agent has another one.
    """
    version = f"{entry.size} {entry.modified} {entry.changed} {entry.inode} {entry.etag} {size} "
    stem = hashlib.sha256(version.encode() + path).hexdigest()[:24]
    return [f"{stem}-{index:06d}" for index in range(max(1, -(-entry.size // size)))]


@runtime_checkable
class Syncs(Protocol):
    """Must be told to make what was written durable."""

    def sync(self) -> None:
        """All that was written before is durable when this returns."""


@runtime_checkable
class ChecksRights(Protocol):
    """Can tell a target that refuses one item from one that refuses all."""

    def check_rights(self) -> None:
        """Raise `Denied` and the like when no change would be accepted now; leaves all as it is."""


@runtime_checkable
class Rests(Protocol):
    """Knows things of the place that others may change while nobody uses it."""

    def rest(self) -> None:
        """Forget them."""


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """How to open a store in any process.

    `kind`: `memory`, `posix`, `blob` or `s3`; `location`: a folder, or the URL of a container or bucket without
    a credential; `beneath`: a folder of the machine that must contain `location` even after links are followed;
    `refused`: folders that may then neither contain nor lie in it, besides those of the system itself;
    `create`: this is a target, make its root when it is not there; `follow`: symbolic links that stay beneath
    the root count as what they lead to; `region` and `identity` (the id of an access key) are of S3; `secret`:
    a SAS, a token (`Bearer …`) or the secret of that key, with a session token after a line break, in no text form;
    `manifest`: a file of `wrap.manifest_file` on this machine, only what it lists is there; `private`: only at
    addresses that are not reached from the Internet; `ca_pem`: certificates that its server is trusted by, and
    by no other, as `ca_file` is for a file of them; `way`: how other machines are reached.
    """

    kind: str
    location: str
    subpath: bytes = b""
    beneath: str = ""
    refused: tuple[str, ...] = ()
    create: bool = False
    secret: str = field(default="", repr=False)
    ca_file: str = ""
    follow: bool = False
    region: str = ""
    identity: str = ""
    manifest: str = ""
    private: bool = False
    ca_pem: str = ""
    way: Way = DIRECT
