"""The log of `wherry copy`: a row for each item as JSON lines, tab-separated or Parquet, made from whole segments.

A segment's lines have the fields of `model.outcomes.Row`, already escaped, so that no row becomes an object here: a
million of them take a second.  The columns are those of the API's copy log; paths and details stay escaped
(`model.names`).  `Codes` counts what a report tells.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.model.errors import UsageError
from wherry.model.outcomes import iso_time

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

Lines = Callable[[str], None]
"""Takes whole lines of a segment."""

COLUMNS = ("timeGenerated", "itemPath", "itemType", "fileSize", "transferResult", "statusCode", "details")
_CODE = re.compile(r"\t(AZSM\d{4})\t")
_FORMULA = re.compile(r"\t([=+\-@])")


class CopyLog:
    """What the engine tells of items, in whole segments."""

    def __init__(self) -> None:
        self._takers: list[Lines] = []

    def to(self, taker: Lines) -> None:
        """Pass all lines on to `taker` as well."""
        self._takers.append(taker)

    def __bool__(self) -> bool:
        return bool(self._takers)

    def __call__(self, lines: bytes) -> None:
        """Take the lines of a segment as they were committed."""
        text = lines.decode()
        for take in self._takers:
            take(text)


class Codes:
    """Counts the codes of rows."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, lines: str) -> None:
        self.counts.update(_CODE.findall(lines))


@contextmanager
def opened(file: Path) -> Iterator[Lines]:
    """A log in the form that the file's name asks for; its folder must exist."""
    with ExitStack() as stack:
        if file.suffix == ".parquet":
            yield stack.enter_context(_parquet(file))
        else:
            # Unbuffered: segments are large, and what could not be written is known at once.
            out = stack.enter_context(file.open("wb", buffering=0))
            yield _writer(out, file, _json if file.suffix in (".jsonl", ".json", ".ndjson") else _tsv)


def _writer(out: FileIO, file: Path, form: Callable[[str], str]) -> Lines:
    def write(lines: str) -> None:
        left = memoryview(form(lines).encode())
        try:
            while left:
                left = left[out.write(left) :]
        except OSError as trouble:
            # The system does not say of which file it is.
            raise OSError(trouble.errno, trouble.strerror, str(file)) from trouble

    return write


def _shown(found: re.Match[str]) -> str:
    return f"\t\\x{ord(found[1]):02x}"


def _tsv(lines: str) -> str:
    # Programs for tables take these for the beginning of a formula; escaped they are text, and the same path.
    lines = _FORMULA.sub(_shown, lines)
    fields = (line.split("\t") for line in lines.splitlines())
    return "".join(
        f"{time}\t{outcome}\t{code}\t{kind}\t{size}\t{path}\t{detail}\n"
        for time, kind, outcome, code, size, path, detail in fields
    )


def _json(lines: str) -> str:
    if "\\" in lines or '"' in lines:
        # Nothing else of JSON needs an escape in what is escaped already.
        lines = lines.replace("\\", "\\\\").replace('"', '\\"')
    # Time, kind, outcome and code are the same for hundreds of rows that follow one another.
    last, around = "", ("", "", "")
    out = []
    for line in lines.splitlines():
        head, size, path, detail = line.rsplit("\t", 3)
        if head != last:
            last, around = head, _json_around(head)
        begin, middle, end = around
        more = f', "details": "{detail}"' if detail else ""
        out.append(f"{begin}{path}{middle}{size}{end}{more}}}\n")
    return "".join(out)


def _json_around(head: str) -> tuple[str, str, str]:
    """What rows with these first fields have before their path, between path and size, and after the size."""
    time, kind, outcome, code = head.split("\t")
    whole, _, fraction = time.partition(".")
    return (
        f'{{"timeGenerated": "{iso_time(int(whole))[:19]}.{fraction}Z", "itemPath": "',
        f'", "itemType": "{kind}", "fileSize": ',
        f', "transferResult": "{outcome}", "statusCode": "{code}"',
    )


@contextmanager
def _parquet(file: Path) -> Iterator[Lines]:
    try:
        import pyarrow as pa
        from pyarrow import compute, csv, parquet
    except ImportError:
        raise UsageError(
            "A log in Parquet needs pyarrow: pip install 'wherry[parquet]'. Or name the log .jsonl or .tsv."
        ) from None
    schema = _schema(pa)
    fields = ("timeGenerated", "itemType", "transferResult", "statusCode", "fileSize", "itemPath", "details")
    read = csv.ReadOptions(column_names=fields)
    parse = csv.ParseOptions(delimiter="\t", quote_char=False, double_quote=False, newlines_in_values=False)
    types = {name: pa.string() for name in fields}
    convert = csv.ConvertOptions(
        column_types=types | {"timeGenerated": pa.float64(), "fileSize": pa.int64()},
        strings_can_be_null=False,
    )
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def write(lines: str) -> None:
            if not lines:
                return
            source = pa.BufferReader(lines.encode())
            table = csv.read_csv(source, read_options=read, parse_options=parse, convert_options=convert)
            ms = compute.round(compute.multiply(table["timeGenerated"], 1000.0)).cast(pa.int64())
            table = table.set_column(0, "timeGenerated", ms.cast(schema.field("timeGenerated").type))
            writer.write_table(table.select(COLUMNS).cast(schema))

        yield write


def _schema(arrow: Any) -> pa.Schema:
    word = arrow.dictionary(arrow.int8(), arrow.string())
    return arrow.schema([
        ("timeGenerated", arrow.timestamp("ms", tz="UTC")), ("itemPath", arrow.string()), ("itemType", word),
        ("fileSize", arrow.int64()), ("transferResult", word), ("statusCode", word), ("details", arrow.string()),
    ])  # fmt: skip
