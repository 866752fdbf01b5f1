"""`wherry audit`: what was done and refused, by whom, and whether what tells of it is genuine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from wherry.cli.connected import session
from wherry.cli.output import Ended, answers, tell
from wherry.model.errors import UsageError, WherryError

if TYPE_CHECKING:
    from wherry.trust.chain import Checkpoint
    from wherry.trust.transcript import Verdict

app = typer.Typer(no_args_is_help=True, help="The audit trail: who did what, what was decided, and why.")

Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", show_default=False, help="From this time on, such as 2027-01-31T12:00:00Z."),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", show_default=False, help="Before this time.")]
Who = Annotated[
    str | None, typer.Option(metavar="WHO", show_default=False, help="Who did it: a name or an object id.")
]
Action = Annotated[
    str | None,
    typer.Option(
        metavar="ACTION", show_default=False, help="What was done; * stands for anything: 'wherry/signin*'."
    ),
]
Result = Annotated[
    str | None,
    typer.Option(metavar="RESULT", show_default=False, help="allowed, denied, refused, failed or counted."),
]
Scope = Annotated[
    str | None, typer.Option(metavar="ID", show_default=False, help="On this resource, and all below it.")
]
Source = Annotated[
    str | None, typer.Option(metavar="ADDRESS", show_default=False, help="From this network address.")
]
RequestId = Annotated[
    str | None, typer.Option(metavar="ID", show_default=False, help="Of this request (x-ms-request-id).")
]
COLUMNS = (
    ("Number", "seq"),
    ("Time", "time"),
    ("Result", "result"),
    ("Who", "actor_name || actor"),
    ("Action", "action"),
    ("Scope", "scope"),
    ("From", "source"),
    ("Why", "reason"),
    ("Count", "count"),
)
VERDICT_COLUMNS = (
    ("Whole", "whole"),
    ("First", "first"),
    ("Last", "last"),
    ("Records", "records"),
    ("Left out", "omitted"),
    ("Signed to", "signedTo"),
    ("Troubles", "join('  ', troubles)"),
    ("Notes", "join('  ', notes)"),
)
_TRAIL = "/providers/Microsoft.Insights/eventtypes/audit"
_PAGE = 1000


@app.command("list")
@answers(COLUMNS)
def list_(
    since: Since = None,
    until: Until = None,
    who: Who = None,
    action: Action = None,
    result: Result = None,
    scope: Scope = None,
    source: Source = None,
    request: RequestId = None,
    top: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="How many records at most.")] = 100,
) -> Any:
    """Records, the newest first."""
    query = _query(since, until, who, action, result, scope, source, request)
    with session() as here:
        rows = here.api.list(f"{_TRAIL}/values", **query, **{"$top": str(min(top, _PAGE))})
        found = list(itertools.islice(rows, top))
    if len(found) == top:
        tell(f"Only the newest {top} records; --top shows more, `wherry audit export` writes all.")
    return found


@app.command()
@answers((*COLUMNS, ("Details", "details"), ("Hash", "hash")))
def show(
    number: Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Number of the record.")],
) -> Any:
    """One record, with all that it tells."""
    with session() as here:
        return here.api.get(f"{_TRAIL}/values/{number}")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - is standard output.")],
    since: Since = None,
    until: Until = None,
    who: Who = None,
    action: Action = None,
    result: Result = None,
    scope: Scope = None,
    source: Source = None,
    request: RequestId = None,
) -> None:
    """Write records as lines of JSON that prove themselves: see `wherry audit verify`.

    Of records that are not asked for there is a line without their content, so that the rest can still be verified.
    """
    query = _query(since, until, who, action, result, scope, source, request)
    count = 0
    with session() as here, _opened(file) as out:
        for line in here.api.lines(f"{_TRAIL}/export", **query):
            out.write(line + "\n")
            count += '"record":' in line
    tell(f"{count} records.")


@app.command()
@answers(VERDICT_COLUMNS)
def verify(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", show_default=False, help="A file of `wherry audit export`."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="In place of a file: the state directory of a control plane.",
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            metavar="FILE",
            show_default=False,
            envvar="WHERRY_CA_FILE",
            help="Certificate of the deployment's authority, kept by you; by default that of the state, or of wherry "
            "login.",
        ),
    ] = None,
    earlier: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="An earlier export: the trail must go on from its end."
        ),
    ] = None,
) -> Any:
    """Whether no record was changed, removed, put in or moved, and the end is there; offline. Exits with 1 if not."""
    from wherry.trust.signed import Untrusted

    if (file is None) == (state is None):
        raise UsageError("Name one of both: the FILE of an export, or a state directory with --state.")
    try:
        verdict = _verdict(file, state, ca, earlier)
    except (Untrusted, UnicodeDecodeError) as refused:
        raise WherryError(f"{file or state} cannot be verified: {refused}.") from refused
    told = {
        "whole": verdict.whole, "trail": verdict.trail, "first": verdict.first, "last": verdict.last,
        "records": verdict.records, "omitted": verdict.omitted, "signedTo": verdict.signed_to,
        "troubles": verdict.troubles, "notes": verdict.notes,
    }  # fmt: skip
    return Ended(told, 0 if verdict.whole else 1)


def _verdict(file: Path | None, state: Path | None, ca: Path | None, earlier: Path | None) -> Verdict:
    from wherry.trust import transcript

    if state is not None:
        from wherry.control import audit_state

        return audit_state.verify(state, ca, _earlier(earlier, ca or state / "ca.pem"))
    from wherry.cli import defaults

    assert file is not None  # noqa: S101 - one of both is there
    ca = ca or defaults.profile().ca_file
    with file.open(encoding="utf-8", newline="\n") as lines:
        return transcript.verify(lines, ca.read_bytes(), _earlier(earlier, ca))


def _earlier(file: Path | None, ca: Path) -> Checkpoint | None:
    from wherry.trust import transcript

    if file is None:
        return None
    with file.open(encoding="utf-8", newline="\n") as lines:
        return transcript.last_checkpoint(lines, ca.read_bytes())


def _query(*told: str | None) -> dict[str, str]:
    names = ("since", "until", "who", "action", "result", "scope", "source", "request")
    return {name: value for name, value in zip(names, told, strict=True) if value}


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    import sys

    if str(file) == "-":
        yield sys.stdout
        sys.stdout.flush()
    else:
        with file.open("w", encoding="utf-8", newline="\n") as out:
            yield out
