"""`wherry copy`: the engine alone, from one place to another, without a control plane."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.cli import exits
from wherry.cli.exits import Exit
from wherry.cli.job_options import job_options
from wherry.cli.output import Ended, answers, tell
from wherry.cli.text import json_safe
from wherry.model.errors import CODES, NotFound, RunError, UsageError

if TYPE_CHECKING:
    from wherry.engine.copy import Report
    from wherry.model.outcomes import Row
    from wherry.stores.port import StoreSpec

SAS = "WHERRY_BLOB_SAS"
CA_FILE = "WHERRY_BLOB_CA_FILE"
_PREFIX = "blob:"

_PLACE = "A folder, or blob:URL of a container with its SAS in WHERRY_BLOB_SAS."
Source = Annotated[str, typer.Argument(metavar="SRC", show_default=False, help=_PLACE)]
Target = Annotated[str, typer.Argument(metavar="DST", show_default=False, help=_PLACE)]
COLUMNS = (
    ("Status", "status"),
    ("Items scanned", "items.Scanned"),
    ("Items transferred", "items.Transferred"),
    ("Bytes transferred", "bytes.Transferred"),
    ("Items not needed", "items.NoTransferNeeded"),
    ("Items excluded", "items.Excluded"),
    ("Items unsupported", "items.Unsupported"),
    ("Items failed", "items.Failed"),
    ("Items deleted", "items.Deleted"),
    ("Seconds", "seconds"),
    ("Warning", "warning"),
)


@answers(COLUMNS)
@job_options
def copy(
    source: Source,
    target: Target,
    options: dict[str, Any],
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Write a row for each item: .jsonl or tab-separated."
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Keep the state here; an interrupted copy goes on."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", min=0, show_default=False, help="Worker processes; by default one a processor."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> Any:
    """Copy a folder or container, without a control plane.

    Exit code: 0 done, 10 done with failed items, 11 failed.
    """
    from wherry.agent.roots import check_apart
    from wherry.model.options import JobOptions

    wanted = JobOptions.from_json(options)
    near, far = place(source), place(target, create=not wanted.dry_run)
    if near.kind == far.kind == "posix":
        check_apart(near, far)
    if _same_container(near, far):
        raise RunError("AZSM1033", "Both are the same container.")
    _probe(near)
    report = _copied(near, far, wanted, log, state, workers, quiet=quiet)
    told = answer_of(report)
    if report.end.code:
        tell(f"{report.end.code}: {report.end.message}")
        tell(f"  {CODES[report.end.code].remedy}")
    return Ended(told, exits.of_end(report.end.status, report.end.code))


def place(text: str, *, create: bool = False) -> StoreSpec:
    """A place of the command line as the engine opens it."""
    from wherry.stores.port import StoreSpec

    if not text.startswith(_PREFIX):
        return StoreSpec("posix", os.path.abspath(text), create=create)
    url = text.removeprefix(_PREFIX)
    if "?" in url:
        raise UsageError(f"Leave the SAS out of the URL, others can read it there: put it into {SAS}.")
    secret = os.environ.get(SAS, "").lstrip("?")
    if not secret:
        raise UsageError(f"{SAS} is not set: it holds the SAS of the container.")
    return StoreSpec("blob", url.rstrip("/"), secret=secret, ca_file=os.environ.get(CA_FILE, ""))


def answer_of(report: Report) -> dict[str, Any]:
    """What a copy came to, as data."""
    end = report.end
    told = {
        "status": str(end.status),
        "code": end.code,
        "message": end.message,
        "warning": end.warning,
        "items": dict(report.counters.items),
        "bytes": dict(report.counters.bytes),
        "seconds": round(report.seconds, 3),
        "resumed": report.resumed,
    }
    return {name: value for name, value in told.items() if value != ""}


def _copied(
    near: StoreSpec, far: StoreSpec, options: Any, log: Path | None, state: Path | None, workers: int | None,
    *, quiet: bool,
) -> Report:  # fmt: skip
    from wherry.cli.live import Moment, Screen
    from wherry.engine.copy import copy as engine_copy
    from wherry.model.outcomes import Counters

    with _log(log) as write, Screen("copy", quiet=quiet) as screen, _terminating():

        def progress(counters: Counters) -> None:
            screen.show(Moment("Running", dict(counters.items), dict(counters.bytes)))

        try:
            return engine_copy(near, far, options, workers=workers, state=state, log=write, progress=progress)
        except KeyboardInterrupt:
            again = (
                "The same command with the same --state goes on from here."
                if state
                else "Run it again to go on."
            )
            tell(f"Interrupted; what is copied stays. {again}")
            raise typer.Exit(int(Exit.INTERRUPTED)) from None


def _probe(source: StoreSpec) -> None:
    """See whether the source is there before anything is made at the target."""
    from contextlib import closing

    from wherry.stores.registry import open_store

    try:
        with closing(open_store(source)) as store:
            store.probe()
    except NotFound as missing:
        raise RunError("AZSM1001", str(missing)) from missing


def _same_container(near: StoreSpec, far: StoreSpec) -> bool:
    return near.kind == far.kind == "blob" and near.location.lower() == far.location.lower()


@contextmanager
def _log(file: Path | None) -> Iterator[Callable[[Row], None] | None]:
    if file is None:
        yield None
        return
    line = _json_line if file.suffix in (".jsonl", ".json") else _tsv_line
    with file.open("w", encoding="utf-8") as out:

        def write(row: Row) -> None:
            out.write(line(row))

        yield write


def _json_line(row: Row) -> str:
    from wherry.model import names

    told = {
        "timeGenerated": row.time,
        "itemPath": names.escape(row.path),
        "itemType": str(row.kind),
        "fileSize": row.size,
        "transferResult": str(row.outcome),
        "statusCode": row.code,
        "details": row.detail,
    }
    return json_safe(json.dumps(told, ensure_ascii=False)) + "\n"


def _tsv_line(row: Row) -> str:
    from wherry.model import names

    detail = names.escape(row.detail.encode("utf-8", "replace"))
    path = names.escape(row.path)
    return f"{row.time:.3f}\t{row.outcome}\t{row.code}\t{row.kind}\t{row.size}\t{path}\t{detail}\n"


@contextmanager
def _terminating() -> Iterator[None]:
    """SIGTERM ends a copy as Ctrl-C does."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
