"""What `wherry copy` does: opens the places, runs the engine, shows how it stands, writes log and report.

Loads neither Typer nor rich unless there is something to show on a terminal.  Called by `main` for a plain command line
and by the command `copy` for all others.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wherry.cli import copy_options, copy_places, exits, job_options
from wherry.cli.copy_live import WINDOW, Observed
from wherry.cli.copy_log import Codes, CopyLog
from wherry.cli.copy_options import COLUMNS, Asked
from wherry.cli.exits import Exit
from wherry.cli.kept_folder import kept_folder
from wherry.cli.live import Screen, size
from wherry.cli.output import Ended, answer, check, tell
from wherry.model.errors import CODES, NotFound, RunError, UsageError
from wherry.model.options import CopyMode, JobOptions
from wherry.model.run import End, RunStatus

if TYPE_CHECKING:
    from wherry.engine.copy import Live, Report
    from wherry.stores.port import StoreSpec

# The words of `model.losses`, for people.
LOSSES = {
    "mode": "their permissions",
    "owner": "their owner and group",
    "times": "their times at full precision",
    "xattrs": "extended attributes",
    "acls": "access control lists",
    "links": "symbolic links as links",
    "hardLinks": "names of one file as one file",
    "names": "items of this name",
    "sizes": "files of this size",
    "special": "items that are neither file, folder nor link",
}


@dataclass(frozen=True, slots=True)
class Job:
    """A copy with its places opened for the engine."""

    asked: Asked
    source: StoreSpec
    target: StoreSpec
    options: JobOptions
    paths: int | None


def quick(given: Sequence[str]) -> int | None:
    """Run a plain command line; its exit code, None when Typer has to look at it."""
    read = copy_options.read(given)
    if read is None:
        return None
    asked, form, query = read
    check(query)
    return answer(perform(asked), COLUMNS, form, query)


def perform(asked: Asked) -> Ended:
    """Copy; what it came to, with the exit code."""
    from wherry.cli import copy_manifest

    options = _started(_options(asked), asked)
    source, target = copy_places.place(asked.source), copy_places.place(asked.target)
    target = replace(target, create=target.kind == "posix" and not options.dry_run)
    copy_places.check_apart(source, target)
    _probe(source)
    with ExitStack() as stack:
        if options.dry_run and target.kind == "posix" and not os.path.lexists(target.location):
            # A folder that is not there yet is as good as an empty one, and must not be made by a look at it.
            target = replace(target, location=str(stack.enter_context(kept_folder("wherry-nothing-"))))
        listed = stack.enter_context(copy_manifest.opened(asked.manifest, asked.state))
        job = Job(asked, replace(source, manifest=listed.file), target, options, listed.count)
        return _reported(job, stack, listed.expected)


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
        "losses": dict(report.losses),
        "seconds": round(report.seconds, 3),
        "resumed": report.resumed,
    }
    return {name: value for name, value in told.items() if value not in ("", {})} | {
        name: told[name] for name in ("items", "bytes")
    }


def _options(asked: Asked) -> JobOptions:
    """The options; what is wrong with one is told by its spelling here."""
    try:
        return JobOptions.from_json(asked.options)
    except UsageError as wrong:
        raise UsageError(job_options.spelled(str(wrong))) from None


def _started(options: JobOptions, asked: Asked) -> JobOptions:
    """The options with ages made moments, and what contradicts a manifest or a state refused."""
    if asked.manifest is not None and options.mode is CopyMode.MIRROR:
        raise UsageError(
            "A mirror would delete all that the manifest does not name: leave out --manifest, or copy additively."
        )
    now = options.at(time.time_ns())
    if now is not options and asked.state is not None:
        raise UsageError(
            "With --state, --newer-than and --older-than need a date: an age would mean another moment "
            "when the copy goes on."
        )
    return now


def _reported(job: Job, stack: ExitStack, listed: int) -> Ended:
    """Run the copy with its log and its report."""
    from wherry.cli import copy_log, copy_report

    asked, log, codes, expected = job.asked, CopyLog(), Codes(), (listed, 0)
    what = copy_report.asked_for(asked, job.source, job.target, job.options, job.paths)
    out = None
    if asked.report is not None:
        expected = expected if listed else copy_report.earlier(asked.report, what)
        out = stack.enter_context(copy_report.opened(asked.report))
        log.to(codes)
    begun = time.time()
    with ExitStack() as logs:
        if asked.log is not None:
            log.to(logs.enter_context(copy_log.opened(asked.log)))
        report = _run(job, log, Observed(expected, job.options.bandwidth, job.options.requests_per_second))
    told = answer_of(report)
    if job.options.dry_run:
        told["dryRun"] = True
    code = _code(report.end)
    if out is not None:
        told_all = told | {"exitCode": int(code)}
        copy_report.write(out, copy_report.document(what, told_all, codes.counts, begun, time.time()))
    _comment(job, told, report.end)
    return Ended(None if code is Exit.INTERRUPTED else told, code)


def _run(job: Job, log: CopyLog, observed: Observed) -> Report:
    """The engine's report; of an interrupted copy as far as it came."""
    from wherry.engine.copy import Report
    from wherry.engine.copy import copy as engine_copy
    from wherry.model.outcomes import Counters

    known = Counters()
    begun = time.monotonic()
    with Screen("copy", quiet=job.asked.quiet, window=WINDOW) as screen, _terminating():

        def progress(now: Live) -> None:
            nonlocal known
            known = now.counters
            screen.show(observed.moment(now))

        try:
            return engine_copy(
                job.source, job.target, job.options, workers=job.asked.workers, state=job.asked.state,
                log=log or None, progress=progress,
            )  # fmt: skip
        except KeyboardInterrupt:
            return Report(known, End(RunStatus.CANCELED), time.monotonic() - begun)


def _code(end: End) -> Exit:
    # Nobody but the keyboard or the system stops a copy on its way.
    return Exit.INTERRUPTED if end.status is RunStatus.CANCELED else exits.of_end(end.status, end.code)


def _comment(job: Job, told: dict[str, Any], end: End) -> None:
    """What a person should know besides the figures."""
    if end.status is RunStatus.CANCELED:
        again = "The same command with the same --state goes on from here."
        tell(f"Interrupted; what is copied stays. {again if job.asked.state else 'Run it again to go on.'}")
        return
    if job.options.dry_run:
        tell(f"Nothing was changed. {_would(told)}")
    for name, count in sorted(told.get("losses", {}).items()):
        tell(
            f"The target cannot hold {LOSSES.get(name, name)}: {count:,} {'item' if count == 1 else 'items'}."
        )
    if end.code:
        tell(f"{end.code}: {end.message}")
        tell(f"  {CODES[end.code].remedy}")
    if job.asked.log is None and any(told["items"].get(name) for name in ("Failed", "Unsupported")):
        tell("Run it with --log FILE to see which items these are.")


def _would(told: dict[str, Any]) -> str:
    items, amount = told["items"], size(told["bytes"].get("Transferred", 0))
    words = {
        "Transferred": f"copied ({amount})", "Deleted": "deleted", "NoTransferNeeded": "left as they are",
        "Excluded": "left out by filters", "Unsupported": "left out, the target cannot hold them",
    }  # fmt: skip
    parts = [f"{items[name]:,} {word}" for name, word in words.items() if items.get(name)]
    return f"Of {items.get('Scanned', 0):,} items would be: {', '.join(parts) or 'nothing done'}."


def _probe(source: StoreSpec) -> None:
    """See whether the source is there before anything is made at the target."""
    from wherry.stores.registry import open_store

    if source.kind == "posix" and os.path.isfile(source.location):
        folder, name = os.path.split(source.location)
        raise UsageError(
            f"{source.location} is a file: give the folder that it is in, {folder}, and --include '/{name}'."
        )
    try:
        with closing(open_store(source)) as store:
            store.probe()
    except NotFound as missing:
        raise RunError("AZSM1001", str(missing)) from missing


@contextmanager
def _terminating() -> Iterator[None]:
    """SIGTERM ends a copy as Ctrl-C does."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
