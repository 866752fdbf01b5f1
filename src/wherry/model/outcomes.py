"""Outcomes of items, the counters of a run and the rows of a copy log.

Each scanned item ends in exactly one outcome.  Counters are sums of rows, made where the rows are made and
sent with them in one commit; nothing increments a counter apart from that.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from wherry.model import names
from wherry.model.entry import Kind


class Outcome(StrEnum):
    """How an item ended; `DELETED` is of the target and outside the sum of scanned items."""

    TRANSFERRED = "Transferred"
    NO_TRANSFER_NEEDED = "NoCopyNecessary"
    EXCLUDED = "Excluded"
    UNSUPPORTED = "Unsupported"
    FAILED = "Failed"
    DELETED = "Deleted"


_COUNTER = {
    Outcome.TRANSFERRED: "Transferred",
    Outcome.NO_TRANSFER_NEEDED: "NoTransferNeeded",
    Outcome.EXCLUDED: "Excluded",
    Outcome.UNSUPPORTED: "Unsupported",
    Outcome.FAILED: "Failed",
    Outcome.DELETED: "Deleted",
}
COUNTERS = ("Scanned", *_COUNTER.values())
_MOST = 2**63


class Row(NamedTuple):
    """One line of a copy log.  `time` in seconds since 1970 on the machine that did it."""

    time: float
    kind: Kind
    outcome: Outcome
    code: str
    size: int
    path: bytes
    detail: str = ""


@dataclass(slots=True)
class Counters:
    """Items and bytes by counter name (`COUNTERS`)."""

    items: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def scanned(self, size: int, items: int = 1) -> None:
        """Count items of the source that were seen, `size` bytes in all."""
        self._bump("Scanned", items, size)

    def count(self, outcome: Outcome, items: int, size: int) -> None:
        """Count items that ended alike, `size` bytes in all."""
        self._bump(_COUNTER[outcome], items, size)

    def row(self, row: Row) -> None:
        """Count the outcome that a row tells."""
        self._bump(_COUNTER[row.outcome], 1, row.size)

    def merge(self, other: Counters) -> None:
        """Add the counts of another."""
        for name, count in other.items.items():
            self._bump(name, count, other.bytes.get(name, 0))

    def _bump(self, name: str, count: int, size: int) -> None:
        self.items[name] = self.items.get(name, 0) + count
        self.bytes[name] = self.bytes.get(name, 0) + size

    @property
    def settled(self) -> int:
        """Scanned items that have their outcome."""
        return sum(n for name, n in self.items.items() if name not in ("Scanned", "Deleted"))

    def to_json(self) -> dict[str, list[int]]:
        """`{name: [items, bytes]}`, names without a count left out."""
        return {name: [self.items[name], self.bytes.get(name, 0)] for name in COUNTERS if name in self.items}

    @classmethod
    def from_json(cls, data: Mapping[str, list[int]]) -> Counters:
        """The inverse of `to_json`; refuses unknown names and negative counts."""
        made = cls()
        for name, (count, size) in data.items():
            if name not in COUNTERS or not (0 <= count < _MOST and 0 <= size < _MOST):
                raise ValueError(f"not a counter: {name}")
            made._bump(name, count, size)
        return made


def line_of(row: Row) -> bytes:
    """A row as a line of a segment: fields parted by tabs."""
    time, kind, outcome, code, size, path, detail = row
    if detail:
        detail = names.escape(detail.encode("utf-8", "replace"))
    fields = (f"{time:.3f}", kind, outcome, code, str(size), names.escape_plain(path), detail)
    return ("\t".join(fields) + "\n").encode()


def lines_alike(
    time: float, outcome: Outcome, code: str, folder: bytes, found: list[bytes], sizes: Iterable[int]
) -> bytes:
    """The lines of files in one folder that ended alike, without details.  Quick."""
    if not found:
        return b""
    begin = f"{time:.3f}\tF\t{outcome.value}\t{code}\t".encode()
    stem = names.escape(folder).encode() + b"/" if folder else b""
    fields = [b"\t\n" + begin, b"", b"\t" + stem, b""] * len(found)
    fields[0] = begin
    fields[1::4] = " ".join(map(str, sizes)).encode().split()
    fields[3::4] = names.escape_names(found)
    return b"".join(fields) + b"\t\n"


def encode_lines(lines: bytes) -> bytes:
    """A segment of a copy log: gzip of its lines, the same bytes for the same lines."""
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(lines) + packer.flush()


def lines_of(rows: Iterable[Row]) -> bytes:
    """The lines of these rows; `rows_of` is the inverse."""
    return b"".join(map(line_of, rows))


def encode_rows(rows: Iterable[Row]) -> bytes:
    """A segment of these rows."""
    return encode_lines(lines_of(rows))


def decode_rows(segment: bytes) -> Iterator[Row]:
    """The rows of a segment, in the order of writing."""
    return rows_of(gzip.decompress(segment))


def rows_of(lines: bytes) -> Iterator[Row]:
    """The rows of the lines of a segment."""
    for line in lines.decode().splitlines():
        time, kind, outcome, code, size, path, detail = line.split("\t")
        yield Row(
            float(time), Kind(kind), Outcome(outcome), code, int(size),
            names.unescape(path), names.unescape(detail).decode("utf-8", "replace"),
        )  # fmt: skip


def segment_name(run: str, partition: int, epoch: int, seq: int, segment: bytes) -> str:
    """Where a segment lies in the log store: told apart by its content, so that a late writer harms nothing."""
    return f"{run}/{partition}/{epoch}/{seq}-{hashlib.sha256(segment).hexdigest()}"


def iso_time(seconds: float) -> str:
    """A time as the API writes it: ISO 8601 in UTC with `Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
