"""An entry: what a listing says of one item of a store.

Made by adapters, compared by `plan`, never changed.  Times are nanoseconds since 1970 (may be negative),
sizes are bytes; None means that the store does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What an item is."""

    FILE = "F"
    FOLDER = "D"
    LINK = "L"
    SPECIAL = "S"


Attributes = tuple[tuple[bytes, bytes], ...]
"""Extended attributes by name, POSIX ACLs (`system.posix_acl_access`, `system.posix_acl_default`) among them."""


class Entry(NamedTuple):
    """One item.  `name` is its last part; `etag` is what a conditional write or read names.

    `mode` holds the twelve permission bits, not the kind.  `sealed` is False for a folder that exists only
    because something lies in it (no marker with its metadata), or that a run has not finished.
    `extra` holds what only this store knows and needs again, as metadata of a blob.  `source_changed` is the change
    time of the item that this one is a copy of, where the store keeps that.
    """

    name: bytes
    kind: Kind
    size: int = 0
    modified: int | None = None
    changed: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    links: int = 1
    device: int = 0
    inode: int = 0
    etag: str = ""
    sealed: bool = True
    extra: tuple[tuple[str, str], ...] = ()
    source_changed: int | None = None

    @property
    def version(self) -> tuple[object, ...]:
        """What must stay the same from before the first read to after the last, or the source has changed."""
        # Kind, size, modified and changed; device, inode and etag.  Asked for twice a file.
        return self[1:5] + self[9:12]

    @property
    def one_file(self) -> tuple[object, ...]:
        """What all names of one file have in common, and the names of two never have."""
        return (self.device, self.inode, self.size, self.modified, self.source_changed)

    @property
    def tag(self) -> str:
        """One word for this version of the item: the store's etag, or what stands for one where it has none.

        A folder stays the same whatever comes and goes in it.  The change time of a file with several names is
        left out, for it moves when another of its names goes.
        """
        if self.etag:
            return self.etag
        if self.kind is Kind.FOLDER:
            return f"d{self.inode:x}"
        changed = "" if self.links > 1 else f"-{self.changed}"
        return f"{self.kind.value.lower()}{self.inode:x}-{self.size}-{self.modified}{changed}"

    def is_same(self, seen: Entry) -> bool:
        """Whether this is still the item that was `seen`, of which no more than kind and tag need be known."""
        if self.kind is not seen.kind:
            return False
        if self.tag == seen.tag:
            return True
        # One name of several when it was seen, the last one now.
        return not self.etag and self._replace(links=2).tag == seen.tag


class Glance(NamedTuple):
    """What some names of a folder are, in their order, by columns: most of a tree never has to become entries.

    `told` are kind and mode as one number (as POSIX has it), links, owner, group and size.
    """

    told: Sequence[tuple[int, ...]]
    modified: Sequence[int]
    changed: Sequence[int]


class Alike(NamedTuple):
    """A file that is the same on both sides, so that nothing more need be known of it."""

    name: bytes
    size: int
