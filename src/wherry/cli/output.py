"""What commands answer: data on standard output, as a table, JSON or tab-separated; all else on standard error.

On a terminal the default is a table, otherwise JSON: the API's own objects, unmodified.  `--query` (JMESPath) works on
those before they are shown.  Nothing that comes from a server or a file name reaches a terminal unescaped.  Importing
this costs little: Typer, rich and jmespath are loaded by what needs them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from wherry.cli import arguments
from wherry.cli.arguments import Choice, Takes
from wherry.model.errors import UsageError
from wherry.model.text import json_safe, one_line, printable

if TYPE_CHECKING:
    from wherry.cli.signature import Command

Columns = tuple[tuple[str, str], ...]


class Format(StrEnum):
    """How data is shown."""

    TABLE = "table"
    JSON = "json"
    JSONC = "jsonc"
    TSV = "tsv"
    NONE = "none"


PANEL = "What is shown"
CHOICES = (
    Choice(
        "output", ("--output", "-o"), Takes.WORD,
        "table, json, jsonc, tsv or none; by default a table on a terminal, else JSON.", PANEL, words=Format,
    ),
    Choice(
        "query", ("--query",), Takes.TEXT, "Show only what this JMESPath expression selects.", PANEL, "JMESPATH"
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer that ends the program with an exit code of its own."""

    data: Any
    code: int


@dataclass(frozen=True)
class answers:  # noqa: N801 - a decorator
    """Decorates a command: what it returns is shown.  `columns` are heading and JMESPath of a table."""

    columns: Columns = ()

    def __call__(self, command: Command) -> Command:
        import typer

        from wherry.cli import signature

        options = [signature.option(one.name, arguments.annotation(one)) for one in CHOICES]

        def call(command: Command, told: Mapping[str, Any], own: dict[str, Any]) -> None:
            check(told["query"])
            if code := answer(command(**own), self.columns, told["output"], told["query"]):
                raise typer.Exit(code)

        return signature.extended(command, options, call)


def answer(found: Any, columns: Columns, form: Format | None = None, query: str | None = None) -> int:
    """Show what a command came to; its exit code."""
    code = 0
    if isinstance(found, Ended):
        found, code = found.data, found.code
    if found is not None:
        show(found, columns, form, query)
    return code


def check(query: str | None) -> None:
    """Refuse an expression that cannot be read before anything is done."""
    if query is not None:
        _expression(query)


def show(found: Any, columns: Columns = (), form: Format | None = None, query: str | None = None) -> None:
    """Print data on standard output."""
    if query is not None:
        found, columns = _selected(found, query), ()
    form = form or chosen()
    if form is Format.TABLE:
        _table(found, columns)
    elif form is Format.TSV:
        sys.stdout.writelines("\t".join(row) + "\n" for row in _tsv(found))
    elif form is not Format.NONE:
        _json(found, colour=form is Format.JSONC)
    sys.stdout.flush()


def chosen() -> Format:
    """The form that is used when a command does not say."""
    from wherry.cli import defaults

    told = os.environ.get("WHERRY_OUTPUT") or defaults.read("output")
    if told is None:
        return Format.TABLE if sys.stdout.isatty() else Format.JSON
    try:
        return Format(told)
    except ValueError:
        raise UsageError(f"'{told}' is no form of output; known are {', '.join(Format)}.") from None


def tell(text: str) -> None:
    """A line for a person, on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost; without a terminal `--yes` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Say --yes: there is no terminal to ask on.")
    import typer

    if not typer.confirm(printable(question), err=True):
        raise UsageError("Nothing was done.")


def _expression(query: str) -> Any:
    import jmespath

    try:
        return jmespath.compile(query)
    except jmespath.exceptions.JMESPathError as broken:
        raise UsageError(f"--query cannot be read: {str(broken).splitlines()[0]}") from broken


def _selected(found: Any, query: str) -> Any:
    import jmespath

    try:
        return _expression(query).search(found)
    except jmespath.exceptions.JMESPathError as broken:
        raise UsageError(f"--query does not fit the answer: {str(broken).splitlines()[0]}") from broken


def _json(found: Any, *, colour: bool) -> None:
    text = json_safe(json.dumps(found, indent=2, ensure_ascii=False, default=str))
    if colour:
        from rich.console import Console
        from rich.highlighter import JSONHighlighter

        Console().print(JSONHighlighter()(text), soft_wrap=True)
    else:
        print(text)


def _tsv(found: Any) -> Iterable[list[str]]:
    for row in found if isinstance(found, list) else [found]:
        if isinstance(row, Mapping):
            yield [_cell(value) for value in row.values() if not isinstance(value, Mapping | list)]
        elif isinstance(row, list):
            yield [_cell(value) for value in row]
        else:
            yield [_cell(row)]


def _table(found: Any, columns: Columns) -> None:
    rows = found if isinstance(found, list) else [found]
    if not all(isinstance(row, Mapping) for row in rows):
        sys.stdout.writelines("\t".join(row) + "\n" for row in _tsv(found))
        return
    if not rows:
        tell("Nothing found.")
        return
    headings, cells = _picked(rows, columns)
    if isinstance(found, Mapping):
        # One thing reads better downwards.
        pairs = zip(headings, cells[0], strict=True)
        headings, cells = (), [[heading, value] for heading, value in pairs if value]
    _print(headings, cells)


def _picked(rows: list[Any], columns: Columns) -> tuple[tuple[str, ...], list[list[str]]]:
    import jmespath

    if not columns:
        names = list(dict.fromkeys(name for row in rows for name, value in row.items() if _plain(value)))
        return tuple(names), [[_cell(row.get(name)) for name in names] for row in rows]
    paths = [jmespath.compile(path) for _, path in columns]
    return tuple(name for name, _ in columns), [[_cell(path.search(row)) for path in paths] for row in rows]


def _print(headings: tuple[str, ...], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=None, show_header=bool(headings), header_style="bold", pad_edge=False)
    for heading in headings or ("", ""):
        table.add_column(heading, overflow="fold", no_wrap=not terminal)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if terminal else 10_000, highlight=False).print(table)


def _plain(value: Any) -> bool:
    return not isinstance(value, Mapping | list)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(map(_plain, value)):
        return ", ".join(_cell(one) for one in value)
    if isinstance(value, Mapping | list):
        return one_line(json.dumps(value, ensure_ascii=False, default=str))
    return one_line(str(value))
