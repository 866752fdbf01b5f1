"""`wherry job`: job definitions, and starting and stopping them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli import job_consent, job_schedule
from wherry.cli.connected import described, session
from wherry.cli.help import in_panels
from wherry.cli.job_options import ORDER, job_options
from wherry.cli.options import Description, Group, Mover, NoWait, Project, Yes, name_option
from wherry.cli.output import PANEL, answers, confirm, tell
from wherry.cli.run import COLUMNS as COLUMNS_OF_RUN
from wherry.model.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Job definitions: what is copied from where to where.")
app.add_typer(job_consent.app, name="consent")
app.add_typer(job_schedule.app, name="schedule")

Name = Annotated[str, name_option("--job-definition-name", "--job", "-j", what="job definition")]
Agent = Annotated[
    str | None,
    typer.Option(
        "--agent-name", "--agent", metavar="NAME", show_default=False, help="The agent that does it."
    ),
]
AgentGroup = Annotated[
    str | None,
    typer.Option(
        "--agent-group", metavar="NAME", show_default=False, help="Or the group of agents that do it."
    ),
]
Source = Annotated[
    str,
    typer.Option("--source-name", "--source", metavar="NAME", show_default=False, help="Source endpoint."),
]
Target = Annotated[
    str,
    typer.Option("--target-name", "--target", metavar="NAME", show_default=False, help="Target endpoint."),
]
SourceSubpath = Annotated[
    str | None, typer.Option(metavar="PATH", show_default=False, help="A folder below the source endpoint.")
]
TargetSubpath = Annotated[
    str | None, typer.Option(metavar="PATH", show_default=False, help="A folder below the target endpoint.")
]
COLUMNS = (
    ("Name", "name"),
    ("Mode", "properties.copyMode"),
    ("Source", "properties.sourceName"),
    ("Target", "properties.targetName"),
    ("Agent", "properties.agentName || properties.wherry.agentGroup"),
    ("Latest run", "properties.latestJobRunName"),
    ("Status", "properties.latestJobRunStatus"),
    ("Description", "properties.description"),
)


_Help = in_panels((*ORDER, PANEL))


@app.command(cls=_Help)
@answers(COLUMNS)
@job_options
def create(
    name: Name,
    source: Source,
    target: Target,
    options: dict[str, Any],
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
    source_subpath: SourceSubpath = None,
    target_subpath: TargetSubpath = None,
    agent: Agent = None,
    agent_group: AgentGroup = None,
    description: Description = None,
) -> Any:
    """Define a job."""
    mode = options.pop("mode", None)
    if mode is None:
        raise UsageError("Give --copy-mode: Additive keeps what only the target has, Mirror deletes it.")
    properties = described(
        description,
        copyMode=mode,
        sourceName=source,
        targetName=target,
        sourceSubpath=source_subpath,
        targetSubpath=target_subpath,
        agentName=agent,
        wherry=_wherry(options, agent_group),
    )
    with session(group, mover, project) as here:
        return here.api.put(here.at.job(name), {"properties": properties})


@app.command(cls=_Help)
@answers(COLUMNS)
@job_options
def update(
    name: Name,
    options: dict[str, Any],
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
    agent: Agent = None,
    agent_group: AgentGroup = None,
    description: Description = None,
) -> Any:
    """Change a job; what is not given stays, runs that have begun keep what they began with."""
    mode = options.pop("mode", None)
    with session(group, mover, project) as here:
        path = here.at.job(name)
        known = here.api.get(path)["properties"].get("wherry") or {}
        changed = _wherry(options, agent_group)
        wherry = {**known, **changed} if changed else None
        properties = described(description, copyMode=mode, agentName=agent, wherry=wherry)
        return here.api.patch(path, {"properties": properties})


@app.command("list")
@answers(COLUMNS)
def list_(group: Group = None, mover: Mover = None, project: Project = None) -> Any:
    """The job definitions of a project."""
    with session(group, mover, project) as here:
        return here.every(here.at.jobs)


@app.command()
@answers(COLUMNS)
def show(name: Name, group: Group = None, mover: Mover = None, project: Project = None) -> Any:
    """One job definition."""
    with session(group, mover, project) as here:
        return here.api.get(here.at.job(name))


@app.command()
def delete(
    name: Name, group: Group = None, mover: Mover = None, project: Project = None, yes: Yes = False,
    no_wait: NoWait = False,
) -> None:  # fmt: skip
    """Delete a job definition with its runs and their logs."""
    confirm(f"Delete the job {name} with its runs and their logs?", yes=yes)
    with session(group, mover, project) as here:
        here.api.delete(here.at.job(name), wait=not no_wait)


@app.command()
@answers((("Run", "jobRunResourceId"), *COLUMNS_OF_RUN))
def start(
    name: Name,
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the run to its end, as `wherry run watch`.")
    ] = False,
) -> Any:
    """Start a run. You must be allowed to give the agent access to the target.

    What its credential there will be able to do, and what it cannot be limited to, is said before.
    """
    with session(group, mover, project) as here:
        job = here.api.get(here.at.job(name))["properties"]
        target = here.api.get(here.at.of_mover("endpoints", job["targetName"]))["properties"]
        if access := target.get("wherry", {}).get("access"):
            tell(access_text(access))
        started = here.api.post(f"{here.at.job(name)}/startJob")
        if not watch:
            return started
        from wherry.cli import run_watch

        return run_watch.follow(here.api, started["jobRunResourceId"])


@app.command()
@answers((("Run", "jobRunResourceId"),))
def stop(name: Name, group: Group = None, mover: Mover = None, project: Project = None) -> Any:
    """Stop the job's run; what is copied stays, the next run goes on from there."""
    with session(group, mover, project) as here:
        return here.api.post(f"{here.at.job(name)}/stopJob")


def access_text(access: dict[str, Any]) -> str:
    """What the back end of a target will hold a run to, in one line."""
    limits = ", ".join(access["limitedTo"]) or "nothing"
    return " ".join(f"Access ({access['driver']}) is limited to: {limits}. {access['warning']}".split())


def _wherry(options: dict[str, Any], agent_group: str | None) -> dict[str, Any] | None:
    return ({**options, "agentGroup": agent_group} if agent_group else options) or None
