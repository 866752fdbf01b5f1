"""The log store: segments of copy logs as files, and their rows for readers.

A segment is put first and named by a commit afterwards; only those that a commit names exist for readers (table
`segments`, in the order of commits).  A segment is written beside its place, made durable and renamed, so it is there
whole or not at all.  Readers get pages: a page looks at a bounded number of rows, however many millions there are, and
says where the next one begins.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from wherry.control.db.tables_ledger import segments
from wherry.model import names
from wherry.model.errors import ApiError
from wherry.model.outcomes import Outcome, Row, decode_rows, iso_time

NAME = re.compile(r"[0-9a-f-]{36}/\d{1,18}/\d{1,18}/\d{1,18}-[0-9a-f]{64}")
MOST_ROWS_SEEN = 100_000
LARGEST_PLAIN = 256 * 1024 * 1024
_STEP = 1024 * 1024


class LogStore:
    """Segments in a directory.  Safe for threads and processes: files appear by renaming and never change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, name: str, segment: bytes) -> None:
        """Keep a segment; nothing happens when it is there.  400 unless it is what its name says, and readable."""
        path = self._path(name)
        if hashlib.sha256(segment).hexdigest() != name.rpartition("-")[2]:
            raise ApiError(400, "InvalidSegment", "The SHA-256 of the body is not the one in the name.")
        if path.exists():
            return
        _check_readable(segment)
        self._make_folder(path.parent)
        beside = path.with_name(f".{secrets.token_hex(8)}")
        try:
            with beside.open("xb") as file:
                file.write(segment)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)
        _sync(path.parent)

    def has(self, name: str) -> bool:
        """Whether a segment of this name was put."""
        return self._path(name).exists()

    def rows(self, name: str) -> Iterator[Row]:
        """The rows of a segment in order, read as far as they are wanted; none when its file is lost."""
        try:
            segment = self._path(name).read_bytes()
        except FileNotFoundError:
            return iter(())
        return decode_rows(segment)

    def forget(self, run: str) -> None:
        """Remove all segments of a run."""
        shutil.rmtree(self._folder / run, ignore_errors=True)

    def runs(self) -> list[str]:
        """The runs that have segments."""
        return sorted(one.name for one in self._folder.iterdir() if one.is_dir())

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise ApiError(400, "InvalidSegment", f"'{name[:200]}' is not the name of a segment.")
        return self._folder / name

    def _make_folder(self, folder: Path) -> None:
        if folder == self._folder or folder.exists():
            return
        self._make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows are shown; None and empty say nothing.  `text` is looked for in path and details, without case."""

    outcome: Outcome | None = None
    code: str = ""
    prefix: bytes = b""
    text: str = ""

    def admits(self, row: Row) -> bool:
        """Whether a row is shown."""
        if self.outcome is not None and row.outcome is not self.outcome:
            return False
        if self.code and row.code != self.code:
            return False
        if not row.path.startswith(self.prefix):
            return False
        return not self.text or self._holds_text(row)

    def _holds_text(self, row: Row) -> bool:
        wanted = self.text.casefold()
        return wanted in names.escape(row.path).casefold() or wanted in row.detail.casefold()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: in the segment with this number, before this row."""

    segment: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """A segment that a commit named; `number` is its place in the order of commits."""

    number: int
    name: str


SEGMENTS = 64
"""Segments that a page may look at."""


def named(conn: Connection, run: str, after: Place) -> list[Named]:
    """The next segments of a run, at most `SEGMENTS`, beginning with the one that `after` lies in."""
    rows = conn.execute(
        select(segments.c.id, segments.c.name)
        .where(segments.c.run == run, segments.c.id >= after.segment)
        .order_by(segments.c.id)
        .limit(SEGMENTS)
    )
    return [Named(row.id, row.name) for row in rows]


def page(
    store: LogStore, found: Sequence[Named], after: Place, wanted: RowFilter, limit: int
) -> tuple[list[Row], Place | None]:
    """Up to `limit` rows that are wanted out of what `named` found, and where to go on; None at the end."""
    shown: list[Row] = []
    seen = 0
    for segment in found:
        begin = after.row if segment.number == after.segment else 0
        for at, row in enumerate(islice(store.rows(segment.name), begin, None), begin):
            if len(shown) >= limit or seen >= MOST_ROWS_SEEN:
                return shown, Place(segment.number, at)
            seen += 1
            if wanted.admits(row):
                shown.append(row)
    return shown, Place(found[-1].number + 1) if len(found) == SEGMENTS else None


def document(run: str, row: Row) -> dict[str, Any]:
    """A row in the columns of the original's copy log."""
    shown: dict[str, Any] = {
        "timeGenerated": iso_time(row.time),
        "jobRunName": run,
        "itemPath": names.escape(row.path),
        "itemType": str(row.kind),
        "fileSize": row.size,
        "transferResult": str(row.outcome),
        "statusCode": row.code,
    }
    return shown | ({"details": row.detail} if row.detail else {})


def _check_readable(segment: bytes) -> None:
    """Refuse what would harm readers: damaged, endless, or not rows at all."""
    stream = zlib.decompressobj(wbits=31)
    size = 0
    rest = segment
    try:
        while rest and not stream.eof:
            size += len(stream.decompress(rest, _STEP))
            rest = stream.unconsumed_tail
            if size > LARGEST_PLAIN:
                raise ApiError(400, "InvalidSegment", "The segment is too large when unpacked.")
        if not stream.eof or stream.unused_data:
            raise ApiError(400, "InvalidSegment", "The segment is not one whole gzip stream.")
        for row in decode_rows(segment):
            iso_time(row.time)
    except (zlib.error, ValueError, KeyError, OverflowError, OSError) as broken:
        raise ApiError(400, "InvalidSegment", f"The segment cannot be read: {broken}.") from broken


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
