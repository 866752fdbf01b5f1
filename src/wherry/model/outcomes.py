"""Outcomes of items, the counters of a run and the rows of a copy log.

Each scanned item ends in exactly one outcome.  Counters are sums of rows, made where the rows are made and
sent with them in one commit; nothing increments a counter apart from that.
"""

from __future__ import annotations

import gzip
import hashlib
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

    def scanned(self, size: int) -> None:
        """Count an item of the source that was seen."""
        self._bump("Scanned", 1, size)

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


def encode_rows(rows: Iterable[Row]) -> bytes:
    """A segment of a copy log: gzip of one line a row, fields parted by tabs, the same bytes for the same rows."""
    lines = [
        f"{r.time:.3f}\t{r.kind.value}\t{r.outcome.value}\t{r.code}\t{r.size}\t"
        f"{names.escape(r.path)}\t{names.escape(r.detail.encode('utf-8', 'replace'))}\n"
        for r in rows
    ]
    return gzip.compress("".join(lines).encode(), compresslevel=3, mtime=0)


def decode_rows(segment: bytes) -> Iterator[Row]:
    """The rows of a segment, in the order of writing."""
    for line in gzip.decompress(segment).decode().splitlines():
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
