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

Lines = Callable[[bytes], None]
"""Takes whole lines of a segment."""

COLUMNS = ("timeGenerated", "itemPath", "itemType", "fileSize", "transferResult", "statusCode", "details")
_PIECE = 32 * 1024
_CODE = re.compile(rb"\t(AZSM\d{4})\t")
_KIND = re.compile(rb"^([^\t]*)\t([^\t]*)\t([^\t]*\t[^\t]*)", re.MULTILINE)
_FORMULA = re.compile(rb"\t([=+\-@])")
# A row with details, or rows without any of which time, kind, outcome and code are the same, as they are for hundreds.
_RUN = re.compile(rb"((?:[^\t]*+\t){4})[^\t]*+\t[^\t]*+\t(?:([^\n]++)\n|\n(?:\1[^\t]*+\t[^\t]*+\t\n)*+)")


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
        for take in self._takers:
            take(lines)


class Codes:
    """Counts the codes of rows."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, lines: bytes) -> None:
        for code, count in Counter(_CODE.findall(lines)).items():
            self.counts[code.decode()] += count


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


def _writer(out: FileIO, file: Path, form: Callable[[bytes], bytes]) -> Lines:
    def write(lines: bytes) -> None:
        try:
            for piece in _pieces(lines):
                left = memoryview(form(piece))
                while left:
                    left = left[out.write(left) :]
        except OSError as trouble:
            # The system does not say of which file it is.
            raise OSError(trouble.errno, trouble.strerror, str(file)) from trouble

    return write


def _pieces(lines: bytes) -> Iterator[bytes]:
    """Whole lines, not so many that a processor's own memory does not hold them."""
    at = 0
    while at < len(lines):
        end = lines.find(b"\n", at + _PIECE) + 1 or len(lines)
        yield lines[at:end]
        at = end


def _shown(found: re.Match[bytes]) -> bytes:
    return b"\t\\x%02x" % ord(found[1])


def _tsv(lines: bytes) -> bytes:
    # Programs for tables take these for the beginning of a formula; escaped they are text, and the same path.
    lines = _FORMULA.sub(_shown, lines)
    return _KIND.sub(rb"\1\t\3\t\2", lines)


def _json(lines: bytes) -> bytes:
    if b"\\" in lines or b'"' in lines:
        # Nothing else of JSON needs an escape in what is escaped already.
        lines = lines.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    out = []
    for run in _RUN.finditer(lines):
        head, first = run[1], run.end(1)
        begin = _json_begin(head.decode())
        if run[2]:
            size, path, details = lines[first : run.end() - 1].split(b"\t")
            out.append(b'%b%b, "itemPath": "%b", "details": "%b"}\n' % (begin, size, path, details))
            continue
        rows = lines[first : run.end() - 2].replace(b"\t\n" + head, b'"}\n' + begin)
        out.append(begin + rows.replace(b"\t", b', "itemPath": "') + b'"}\n')
    return b"".join(out)


def _json_begin(head: str) -> bytes:
    """What rows with these first fields have before their size."""
    time, kind, outcome, code, _ = head.split("\t")
    whole, _, fraction = time.partition(".")
    return (
        f'{{"timeGenerated": "{iso_time(int(whole))[:19]}.{fraction}Z", "itemType": "{kind}", '
        f'"transferResult": "{outcome}", "statusCode": "{code}", "fileSize": '
    ).encode()


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

        def write(lines: bytes) -> None:
            if not lines:
                return
            source = pa.BufferReader(lines)
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
