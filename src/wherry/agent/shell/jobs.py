"""Entries about the agent's jobs: the control plane tells how its runs stand and what became of each item.

While it cannot be reached, the agent tells what it knows itself (`own_runs`).  A run is named as people paste it:
`jobDefinition:jobRun`.  Lists come page by page and are never whole in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wherry.agent import own_runs
from wherry.agent.shell import status
from wherry.agent.shell.here import Here
from wherry.client import job_status
from wherry.client.connection import Json, Unreachable
from wherry.client.job_status import JobStatus, Page
from wherry.model.errors import ApiError, UsageError
from wherry.model.outcomes import Outcome
from wherry.model.text import one_line

_KEY = re.compile(
    r"(?:(?P<job>[^:/\s]{1,64}):)?(?P<run>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
)
_MOST_DEEDS = 40


def service_status(here: Here) -> None:
    """How the agent stands, and whether the control plane speaks with it at this moment."""
    status.service(here)
    if here.state.registration() is None:
        return
    try:
        with _asking(here) as jobs:
            jobs.runs()
    except Unreachable as trouble:
        here.terminal.say(f"{'communication':<16}none: {trouble}")
    else:
        here.terminal.say(f"{'communication':<16}the control plane answers this agent")


def summary(here: Here) -> None:
    """All runs of this agent, the latest first."""
    try:
        with _asking(here) as jobs:
            _pages(here, jobs.runs, _in_short, "This agent has had no run.")
    except Unreachable as trouble:
        _offline(here, trouble)
        for one in own_runs.runs(here.state)[: job_status.PAGE]:
            at = f"holds {len(one.held)} parts of it" if one.held else "holds nothing of it"
            here.terminal.say(f"{one.run}\n    since {one.first}, last {one.last.time}: {one.last.message}")
            here.terminal.say(f"    This agent {at}.")


def details(here: Here) -> None:
    """One run: how it stands, between which places, and what of it is left."""
    job, run = _key(here)
    try:
        with _asking(here) as jobs:
            told = _run(jobs, job, run)
    except Unreachable as trouble:
        _offline(here, trouble)
        found = list(own_runs.deeds(here.state, run))
        for deed in found[-_MOST_DEEDS:]:
            here.terminal.say(f"{deed.time}  part {deed.part or '-'}: {deed.message}")
        if not found:
            here.terminal.say("It has not worked on this run, or too long ago.")
    else:
        here.terminal.say("\n".join(_in_full(told)))


def copy_logs(here: Here) -> None:
    """The copy log of one run, of all outcomes or of one."""
    job, run = _key(here)
    outcome = _outcome(here)
    with _asking(here) as jobs:
        _run(jobs, job, run)
        _pages(here, lambda after: jobs.copy_log(run, outcome, after), _row, "There are no such rows.")


@contextmanager
def _asking(here: Here) -> Iterator[JobStatus]:
    identity = here.state.identity()
    if identity is None:
        raise UsageError("This agent is not registered: it has no jobs. Register it first.")
    with job_status.asking(identity) as jobs:
        yield jobs


def _pages(here: Here, ask: Callable[[str | None], Page], shown: Callable[[Json], str], nothing: str) -> None:
    """Page after page, as long as somebody wants more."""
    after, count = None, 0
    while True:
        page = ask(after)
        after = page.after
        for row in page.rows:
            here.terminal.say(shown(row))
        count += len(page.rows)
        if after is None:
            here.terminal.say(f"{count} in all." if count else nothing)
            return
        if page.rows and here.terminal.ask("Enter shows more, 0 ends it: ").strip() == "0":
            return


def _key(here: Here) -> tuple[str, str]:
    answer = here.question("Job (jobDefinition:jobRun)", lambda told: "" if _KEY.fullmatch(told) else _NO_KEY)
    found = _KEY.fullmatch(answer)
    return (found["job"] or "", found["run"].lower()) if found else ("", "")


_NO_KEY = "A job definition's name and the id of a run of it are expected, as Job summary shows them."


def _outcome(here: Here) -> Outcome | None:
    known = list(Outcome)
    here.terminal.say("\n".join(f"{number}) {one}" for number, one in enumerate(known, 1)))

    def trouble(answer: str) -> str:
        fits = answer.isascii() and answer.isdigit() and len(answer) < 4 and int(answer) <= len(known)
        return "" if fits else f"Type a number from 1 to {len(known)}, or 0 for all."

    number = int(here.question("Which outcome, 0 for all", trouble, default="0"))
    return known[number - 1] if number else None


def _run(jobs: JobStatus, job: str, run: str) -> Json:
    """The run, when it is one of that job definition."""
    try:
        told = jobs.run(run)
    except ApiError as refused:
        if refused.status != 404:
            raise
        told = {}
    if not told or (job and str(told.get("jobDefinition", "")).lower() != job.lower()):
        raise UsageError("This agent has no such run. Job summary shows those that it has.")
    return told


def _offline(here: Here, trouble: Unreachable) -> None:
    here.terminal.say(f"{trouble}\nWhat this agent knows itself, by its own log:")


def _in_short(told: Json) -> str:
    times = f"{told.get('executionStartTime', 'not begun')} to {told.get('executionEndTime', 'now')}"
    return (
        f"{told.get('jobDefinition')}:{told.get('jobRun')}\n    {told.get('status')}, {times}, "
        f"{told.get('itemsTransferred', 0)} items ({told.get('bytesTransferred', 0)} bytes) transferred, "
        f"{told.get('itemsFailed', 0)} failed"
    )


def _in_full(told: Json) -> Iterator[str]:
    """A line for each thing that is known of a run."""
    yield _line("Job", f"{told.get('jobDefinition')}:{told.get('jobRun')}")
    for name, words in _LINES:
        if told.get(name) not in (None, ""):
            yield _line(words, str(told[name]))
    for side in ("source", "target"):
        place = told.get(side)
        if isinstance(place, dict):
            below = f", below it {place['subpath']}" if place.get("subpath") else ""
            yield _line(side.capitalize(), f"{place.get('kind')} {place.get('location')}{below}")
    for counted in _COUNTED:
        if f"items{counted}" in told:
            items, size = told[f"items{counted}"], told.get(f"bytes{counted}", 0)
            yield _line(f"Items {counted}", f"{items} ({size} bytes)")
    error = told.get("error")
    for trouble in [*([error] if isinstance(error, dict) else []), *(told.get("warnings") or [])]:
        if isinstance(trouble, dict):
            yield _line(str(trouble.get("code")), str(trouble.get("message")))


_LINES = (
    ("project", "Project"), ("status", "Status"), ("scanStatus", "Scan"), ("copyMode", "Copy mode"),
    ("createdAt", "Asked for"), ("executionStartTime", "Began"), ("executionEndTime", "Ended"),
    ("lastStatusUpdate", "Last heard"), ("agentName", "Agent"), ("partsLeft", "Parts left"),
    ("partsHeld", "Parts held"), ("partsHeldHere", "Parts held here"),
)  # fmt: skip
_COUNTED = ("Scanned", "Transferred", "NoTransferNeeded", "Excluded", "Unsupported", "Failed")


def _row(told: Json) -> str:
    more = f"  {told['details']}" if told.get("details") else ""
    return one_line(
        f"{told.get('timeGenerated')}  {told.get('transferResult')}  {told.get('statusCode')}  "
        f"{told.get('fileSize', 0)}  {told.get('itemPath')}{more}"
    )


def _line(name: str, value: str) -> str:
    return f"{name:<22}{one_line(value)}"
