"""A whole copy log as one file: CSV, Parquet or lines of JSON, made while it is sent.

Rows go through in batches, so that a log of a hundred million takes no more memory than one segment.  Paths stay
escaped as everywhere (`model.names`); in CSV so are details, and what a program for tables would take for a formula.
Called by `arm.run_logs`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from importlib import import_module
from itertools import islice
from typing import Any, Protocol

import anyio.to_thread

from wherry.control import logs
from wherry.control.db.engine import Database
from wherry.control.logs import SEGMENTS, LogStore, Place, RowFilter
from wherry.model import names
from wherry.model.errors import ApiError
from wherry.model.outcomes import Row, iso_time

BATCH = 10_000
"""Rows that are looked at in one step."""

COLUMNS = (
    "timeGenerated", "jobRunName", "itemPath", "itemType", "fileSize", "transferResult", "statusCode", "details",
)  # fmt: skip
_GROUP = 65_536
_FORMULA = ("=", "+", "-", "@")


class Form(Protocol):
    """How rows become bytes.  `add` may keep some back; `end` gives what is left."""

    media_type: str

    def add(self, rows: list[Row]) -> bytes:
        """The bytes that these rows bring."""

    def end(self) -> bytes:
        """The rest."""


class JsonLines:
    """A document a line, as a page of the API has it."""

    media_type = "application/jsonl"

    def __init__(self, run: str) -> None:
        self._run = run

    def add(self, rows: list[Row]) -> bytes:
        told = (json.dumps(logs.document(self._run, row), ensure_ascii=False) for row in rows)
        return "".join(f"{line}\n" for line in told).encode()

    def end(self) -> bytes:
        return b""


class Csv:
    """RFC 4180 with a line of names, in UTF-8."""

    media_type = "text/csv; charset=utf-8; header=present"

    def __init__(self, run: str) -> None:
        self._run = run
        self._text = io.StringIO()
        self._writer = csv.writer(self._text)
        self._writer.writerow(COLUMNS)

    def add(self, rows: list[Row]) -> bytes:
        self._writer.writerows(
            (
                iso_time(row.time), self._run, _cell(names.escape(row.path)), str(row.kind), row.size,
                str(row.outcome), row.code, _cell(names.escape(row.detail.encode("utf-8", "replace"))),
            )
            for row in rows
        )  # fmt: skip
        return self._taken()

    def end(self) -> bytes:
        return self._taken()

    def _taken(self) -> bytes:
        made = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        return made


class Parquet:
    """Columns as those of `wherry copy --log FILE.parquet`, with the run's name."""

    media_type = "application/vnd.apache.parquet"

    def __init__(self, run: str) -> None:
        try:
            arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
        except ImportError:
            raise ApiError(
                400,
                "FormatNotAvailable",
                "This control plane has no pyarrow, which Parquet needs: pip install 'wherry[parquet]' where it runs, "
                "or ask for format=csv.",
            ) from None
        self._arrow = arrow
        self._run = run
        self._schema = _schema(arrow)
        self._kept: list[Row] = []
        self._sink = _Sink()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")

    def add(self, rows: list[Row]) -> bytes:
        self._kept += rows
        if len(self._kept) >= _GROUP:
            self._write()
        return self._sink.taken()

    def end(self) -> bytes:
        if self._kept:
            self._write()
        self._writer.close()
        return self._sink.taken()

    def _write(self) -> None:
        rows, self._kept = self._kept, []
        columns = (
            [round(row.time * 1000) for row in rows], [self._run] * len(rows),
            [names.escape(row.path) for row in rows], [str(row.kind) for row in rows], [row.size for row in rows],
            [str(row.outcome) for row in rows], [row.code for row in rows], [row.detail for row in rows],
        )  # fmt: skip
        arrays = [
            self._arrow.array(column, type=field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))


FORMS: Mapping[str, Callable[[str], Form]] = {"jsonl": JsonLines, "csv": Csv, "parquet": Parquet}


async def pieces(
    database: Database, store: LogStore, run: str, wanted: RowFilter, form: Form
) -> AsyncIterator[bytes]:
    """The file, piece by piece, of what was committed when its part is reached."""
    place = Place()
    while True:
        found = await database.read(logs.named, run, place)
        for segment in found:
            rows = await anyio.to_thread.run_sync(store.rows, segment.name)
            more = True
            while more:
                more, made = await anyio.to_thread.run_sync(_step, rows, wanted, form)
                if made:
                    yield made
        if len(found) < SEGMENTS:
            break
        place = Place(found[-1].number + 1)
    rest = await anyio.to_thread.run_sync(form.end)
    if rest:
        yield rest


def _step(rows: Iterator[Row], wanted: RowFilter, form: Form) -> tuple[bool, bytes]:
    seen = list(islice(rows, BATCH))
    return len(seen) == BATCH, form.add([row for row in seen if wanted.admits(row)])


def _cell(text: str) -> str:
    """Programs for tables take some beginnings for a formula; escaped they are text, and the same path."""
    return f"\\x{ord(text[0]):02x}{text[1:]}" if text.startswith(_FORMULA) else text


def _schema(arrow: Any) -> Any:
    word = arrow.dictionary(arrow.int32(), arrow.string())
    return arrow.schema([
        ("timeGenerated", arrow.timestamp("ms", tz="UTC")), ("jobRunName", word), ("itemPath", arrow.string()),
        ("itemType", word), ("fileSize", arrow.int64()), ("transferResult", word), ("statusCode", word),
        ("details", arrow.string()),
    ])  # fmt: skip


class _Sink:
    """A file that is never whole: what was written is taken away and sent."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._at += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> bytes:
        made = b"".join(self._pieces)
        self._pieces.clear()
        return made
