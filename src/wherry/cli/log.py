"""`wherry log`: the copy log of a run, a row for each item."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TextIO

import typer

from wherry.cli.connected import session
from wherry.cli.options import Group, Job, Mover, Project
from wherry.cli.output import answers, tell
from wherry.cli.run import Name, path_of
from wherry.model.errors import UsageError
from wherry.model.outcomes import Outcome
from wherry.model.text import json_safe

app = typer.Typer(no_args_is_help=True, help="The copy log of a run: a row for each item.")

OutcomeOption = Annotated[
    Outcome | None, typer.Option(case_sensitive=False, show_default=False, help="Only rows of this outcome.")
]
Code = Annotated[str | None, typer.Option(metavar="CODE", show_default=False, help="Only rows of this code.")]
PathPrefix = Annotated[
    str | None, typer.Option("--path", metavar="PATH", show_default=False, help="Only paths that begin so.")
]
Words = Annotated[
    str | None, typer.Option("--text", metavar="TEXT", show_default=False, help="Only rows that hold this.")
]
COLUMNS = (
    ("Time", "timeGenerated"),
    ("Outcome", "transferResult"),
    ("Code", "statusCode"),
    ("Kind", "itemType"),
    ("Size", "fileSize"),
    ("Path", "itemPath"),
    ("Details", "details"),
)
_PAGE = 1000


class Form(StrEnum):
    """What a copy log is written as."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_FORMS = {".csv": Form.CSV, ".parquet": Form.PARQUET}


@app.command("list")
@answers(COLUMNS)
def list_(
    job: Job,
    run: Name = None,
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
    outcome: OutcomeOption = None,
    code: Code = None,
    path: PathPrefix = None,
    text: Words = None,
    top: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="How many rows at most.")] = 1000,
) -> Any:
    """Rows of the copy log."""
    with session(group, mover, project) as here:
        query = _query(outcome, code, path, text) | {"$top": str(min(top, _PAGE))}
        rows = here.api.list(f"{path_of(here, job, run)}/copyLogs", **query)
        found = list(itertools.islice(rows, top))
    if len(found) == top:
        tell(f"Only the first {top} rows; --top shows more, `wherry log export` writes all.")
    return found


@app.command()
def export(
    job: Job,
    run: Name = None,
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
    outcome: OutcomeOption = None,
    code: Code = None,
    path: PathPrefix = None,
    text: Words = None,
    file: Annotated[
        Path, typer.Option("--file", "-f", metavar="FILE", help="Where to; - is standard output.")
    ] = Path("-"),
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            case_sensitive=False,
            show_default=False,
            help="By default as the file's name ends, else jsonl.",
        ),
    ] = None,
) -> None:
    """Write all rows of the copy log: as one JSON object a line, as CSV or as Parquet."""
    form = form or _FORMS.get(file.suffix.lower(), Form.JSONL)
    if form is not Form.JSONL:
        with session(group, mover, project) as here, _kept(file, form) as out:
            query = _query(outcome, code, path, text) | {"format": form.value}
            size = sum(map(out.write, here.api.pieces(f"{path_of(here, job, run)}/exportCopyLogs", **query)))
        tell(f"{size} bytes.")
        return
    with session(group, mover, project) as here, _opened(file) as out:
        query = _query(outcome, code, path, text) | {"$top": str(_PAGE)}
        count = 0
        for row in here.api.list(f"{path_of(here, job, run)}/copyLogs", **query):
            out.write(json_safe(json.dumps(row, ensure_ascii=False)) + "\n")
            count += 1
    tell(f"{count} rows.")


def _query(outcome: Outcome | None, code: str | None, path: str | None, text: str | None) -> dict[str, str]:
    told = {"outcome": outcome and outcome.value, "code": code, "pathPrefix": path, "text": text}
    return {name: value for name, value in told.items() if value}


@contextmanager
def _kept(file: Path, form: Form) -> Iterator[BinaryIO]:
    """A file that is there whole or not at all."""
    if str(file) == "-":
        if form is Form.PARQUET and sys.stdout.isatty():
            raise UsageError("Parquet is nothing for a terminal: name a --file.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    beside = file.with_name(f".{file.name}.part")
    try:
        with beside.open("wb") as out:
            yield out
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    if str(file) == "-":
        yield sys.stdout
        sys.stdout.flush()
    else:
        with file.open("w", encoding="utf-8") as out:
            yield out
