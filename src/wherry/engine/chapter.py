"""A chapter: a stretch of the walk with its log lines, counters, put-off items and the deeds that it needs.

Filled by `span` and `slices`, carried out and committed by `chapters`.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from operator import itemgetter

from wherry.engine import deeds
from wherry.engine.deeds import Deed
from wherry.engine.lease import boot_time
from wherry.model.entry import Alike, Entry, Kind
from wherry.model.ledger import Phase, WorkItem
from wherry.model.names import parent
from wherry.model.outcomes import Counters, Outcome, Row, line_of, lines_alike
from wherry.stores.lane import Parcel

CHAPTER_ITEMS = 500
CHAPTER_BYTES = 64 * 1024 * 1024
# Of paths that are put off: a commit is one request, and its body has a limit.
COMMIT_BYTES = 4 * 1024 * 1024
FIRST_COMMIT_SECONDS = 1.0
EQUAL = "AZSM2041"
_NAME, _SIZE = itemgetter(0), itemgetter(1)
_WRITTEN = (Outcome.TRANSFERRED, Outcome.DELETED)


@dataclass(slots=True)
class Chapter:
    """A stretch of the walk.  `end` is the last path (or key) that it finishes, `room` how many deeds it takes.

    `touched` are the folders in which something was written, whose times are therefore not the source's any more.
    """

    room: int = CHAPTER_ITEMS
    end: bytes = b""
    logged: bool = True
    counters: Counters = field(default_factory=Counters)
    lines: list[bytes] = field(default_factory=list)
    touched: set[bytes] = field(default_factory=set)
    deferred: list[WorkItem] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    plain: list[tuple[bytes, list[Entry]]] = field(default_factory=list)
    parcels: list[Parcel] = field(default_factory=list)
    handed: int = 0
    size: int = 0
    weight: int = 0
    items: int = 0
    load: Future[list[Row]] | None = None
    begun: float = field(default_factory=boot_time)

    @property
    def old(self) -> bool:
        return boot_time() - self.begun > FIRST_COMMIT_SECONDS

    @property
    def under_way(self) -> bool:
        """Whether the short way has not ended for all."""
        return any(parcel.under_way for parcel in self.parcels)

    @property
    def full(self) -> bool:
        heavy = self.handed >= self.room or self.size >= CHAPTER_BYTES
        return heavy or self.items >= 10 * CHAPTER_ITEMS or self.weight >= COMMIT_BYTES // 8

    def note(self, row: Row) -> None:
        """Log and count an item that ended."""
        self.counters.row(row)
        if self.logged:
            self.lines.append(line_of(row))
        if row.outcome in _WRITTEN and (row.kind is not Kind.FOLDER or row.outcome is Outcome.DELETED):
            self._touch(parent(row.path))

    def _touch(self, folder: bytes) -> None:
        if folder not in self.touched:
            self.touched.add(folder)
            self.weight += 2 * len(folder)

    def settle(self, folder: bytes, files: list[Alike]) -> None:
        """Count and log files of a folder that are equal on both sides."""
        self.counters.scanned(sum(map(_SIZE, files)), len(files))
        self._end_all(folder, files, Outcome.NO_TRANSFER_NEEDED, EQUAL)

    def transferred(self, folder: bytes, entries: list[Entry]) -> None:
        """Count and log files of a folder that were copied."""
        self._end_all(
            folder, [Alike(entry[0], entry[2]) for entry in entries], Outcome.TRANSFERRED, deeds.TRANSFERRED
        )
        self._touch(folder)

    def _end_all(self, folder: bytes, files: list[Alike], outcome: Outcome, code: str) -> None:
        self.counters.count(outcome, len(files), sum(map(_SIZE, files)))
        if self.logged:
            found, sizes = list(map(_NAME, files)), map(_SIZE, files)
            self.lines.append(lines_alike(time.time(), outcome, code, folder, found, sizes))

    def put_off(self, item: WorkItem) -> None:
        """Leave an item to a later phase."""
        self.deferred.append(item)
        self.weight += len(item.key) + len(item.path)
        if item.phase is Phase.FOLDERS and item.counted:
            self._touch(parent(item.path))

    def hand_out(self, deed: Deed, size: int) -> None:
        """Leave an item to the team."""
        self.deeds.append(deed)
        self.handed += 1
        self.size += size

    def hand_out_plain(self, folder: bytes, entries: list[Entry]) -> None:
        """Leave plain small files that the target lacks to the short way."""
        size = sum([entry[2] for entry in entries])
        self.counters.scanned(size, len(entries))
        self.plain.append((folder, entries))
        self.handed += len(entries)
        self.size += size
