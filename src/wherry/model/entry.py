"""An entry: what a listing says of one item of a store.

Made by adapters, compared by `plan`, never changed.  Times are nanoseconds since 1970 (may be negative),
sizes are bytes; None means that the store does not know.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What an item is."""

    FILE = "F"
    FOLDER = "D"
    LINK = "L"
    SPECIAL = "S"


class Entry(NamedTuple):
    """One item.  `name` is its last part; `etag` is what a conditional write or read names.

    `sealed` is False for a folder that exists only because something lies in it (no marker with its metadata).
    `extra` holds what only this store knows and needs again, as metadata of a blob.
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

    @property
    def version(self) -> tuple[object, ...]:
        """What must stay the same from before the first read to after the last, or the source has changed."""
        return (self.kind, self.size, self.modified, self.changed, self.device, self.inode, self.etag)
