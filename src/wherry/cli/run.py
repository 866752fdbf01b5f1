"""`wherry run`: the runs of a job, what happened in them, and watching one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli.connected import Session, session
from wherry.cli.options import Group, Job, Mover, Project
from wherry.cli.output import answers
from wherry.cli.place import segment
from wherry.model.errors import ApiError

app = typer.Typer(no_args_is_help=True, help="Runs of a job.")

Name = Annotated[
    str | None,
    typer.Option(
        "--job-run-name",
        "--run",
        "--name",
        "-n",
        metavar="NAME",
        show_default=False,
        help="Name of the run; by default the latest.",
    ),
]
LIST_COLUMNS = (
    ("Name", "name"),
    ("Status", "properties.status"),
    ("Started", "properties.executionStartTime"),
    ("Ended", "properties.executionEndTime"),
    ("Scanned", "properties.itemsScanned"),
    ("Transferred", "properties.itemsTransferred"),
    ("Failed", "properties.itemsFailed"),
    ("Bytes", "properties.bytesTransferred"),
    ("Error", "properties.error.code"),
)
COLUMNS = (
    ("Name", "name"),
    ("Status", "properties.status"),
    ("Scan", "properties.scanStatus"),
    ("Agent", "properties.agentName"),
    ("Source", "properties.sourceName"),
    ("Target", "properties.targetName"),
    ("Started", "properties.executionStartTime"),
    ("Ended", "properties.executionEndTime"),
    ("Items scanned", "properties.itemsScanned"),
    ("Items transferred", "properties.itemsTransferred"),
    ("Bytes transferred", "properties.bytesTransferred"),
    ("Items not needed", "properties.itemsNoTransferNeeded"),
    ("Items excluded", "properties.itemsExcluded"),
    ("Items unsupported", "properties.itemsUnsupported"),
    ("Items failed", "properties.itemsFailed"),
    ("Items deleted", "properties.wherry.itemsDeleted"),
    ("Access", "properties.wherry.accessState"),
    ("Enforced on", "properties.wherry.enforcedScope"),
    ("Warnings", "properties.warnings[].message"),
    ("Error", "properties.error.code"),
    ("Why", "properties.error.message"),
)
EVENT_COLUMNS = (
    ("Time", "timeGenerated"),
    ("Level", "level"),
    ("Code", "statusCode"),
    ("Agent", "agentName"),
    ("Message", "message"),
)


def path_of(here: Session, job: str, run: str | None) -> str:
    """The id of a run of a job: the one of that name, or the latest."""
    path = here.at.job(job)
    if run is None:
        run = here.api.get(path)["properties"].get("latestJobRunName")
        if run is None:
            raise ApiError(404, "ResourceNotFound", f"The job '{job}' has never been started.")
    return f"{path}/jobRuns/{segment(run)}"


@app.command("list")
@answers(LIST_COLUMNS)
def list_(job: Job, group: Group = None, mover: Mover = None, project: Project = None) -> Any:
    """The runs of a job, the latest first."""
    with session(group, mover, project) as here:
        return here.every(f"{here.at.job(job)}/jobRuns")


@app.command()
@answers(COLUMNS)
def show(
    job: Job, name: Name = None, group: Group = None, mover: Mover = None, project: Project = None
) -> Any:
    """One run: its state, its counters, and what it may still touch."""
    with session(group, mover, project) as here:
        return here.api.get(path_of(here, job, name))


@app.command()
@answers(COLUMNS)
def watch(
    job: Job,
    name: Name = None,
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
    follow: Annotated[bool, typer.Option(help="Go on to its end, or show how it stands now.")] = True,
) -> Any:
    """Watch a run to its end. Ctrl-C ends the watching, not the run.

    Exit code: 0 done, 10 done with failed items, 11 failed, 12 stopped.
    """
    from wherry.cli import run_watch

    with session(group, mover, project) as here:
        path = path_of(here, job, name)
        return run_watch.follow(here.api, path) if follow else run_watch.once(here.api, path)


@app.command()
@answers(EVENT_COLUMNS)
def events(
    job: Job,
    name: Name = None,
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
    level: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL", show_default=False, help="The lowest shown: Informational, Warning or Error."
        ),
    ] = None,
    code: Annotated[
        str | None, typer.Option(metavar="CODE", show_default=False, help="Only this code.")
    ] = None,
) -> Any:
    """The run log: what happened to a run."""
    query = {key: value for key, value in (("level", level), ("code", code)) if value}
    with session(group, mover, project) as here:
        return here.every(f"{path_of(here, job, name)}/events", **query, **{"$top": "1000"})
