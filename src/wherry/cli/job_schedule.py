"""`wherry job schedule`: when a job is started by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from wherry.cli import times
from wherry.cli.connected import session
from wherry.cli.options import Group, Mover, Project, name_option
from wherry.cli.output import answers
from wherry.model.errors import UsageError
from wherry.model.schedules import Overlap

app = typer.Typer(no_args_is_help=True, help="Schedules: when a job is started by itself.")

Name = Annotated[str, name_option("--job-definition-name", "--job", "-j", what="job definition")]
COLUMNS = (
    ("Job", "job"),
    ("Enabled", "schedule.isActive"),
    ("How often", "schedule.frequency || schedule.cronExpression"),
    ("Time zone", "timeZone"),
    ("Next", "next[0]"),
    ("Enabled by", "scheduledBy"),
    ("Last", "lastFiring.outcome"),
    ("Why", "lastFiring.error.message"),
)
_WORDS = (
    "frequency", "executionTime", "startDate", "endDate", "daysOfWeek", "daysOfMonth", "cronExpression",
    "repeatInterval",
)  # fmt: skip


def _kind(flag: str, text: str, metavar: str | None = None) -> Any:
    return typer.Option(
        flag, metavar=metavar, show_default=False, help=text, rich_help_panel="How often (give one)"
    )


@app.command("set")
@answers(COLUMNS)
def set_(
    name: Name,
    once: Annotated[bool, _kind("--once", "Once, from --start on.")] = False,
    hourly: Annotated[
        int | None, _kind("--hourly", "Every 1, 2, 3, 4, 6, 8 or 12 hours from --start on.", "HOURS")
    ] = None,
    daily: Annotated[bool, _kind("--daily", "Every day.")] = False,
    weekly: Annotated[
        str | None, _kind("--weekly", "Every week on these days, as Monday,Friday.", "DAYS")
    ] = None,
    monthly: Annotated[str | None, _kind("--monthly", "Every month on these days, as 1,15.", "DAYS")] = None,
    cron: Annotated[str | None, _kind("--cron", "As crontab has it, '30 2 * * mon-fri'.", "TEXT")] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="HH:MM", show_default=False, help="The time of day; minutes are 00 or 30."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", show_default=False, help="Not before; UTC without an offset."),
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", show_default=False, help="Not after; UTC without an offset.")
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default=False, help="Times are of this zone, as Europe/Berlin."),
    ] = None,
    on_overlap: Annotated[
        Overlap | None,
        typer.Option(
            show_default=False,
            help="While the run before goes on: wait for its end, skip this time, or fail.",
        ),
    ] = None,
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
) -> Any:
    """Give a job a schedule, or another one. A new one is off until it is enabled; an enabled one stays enabled."""
    kinds: dict[str, dict[str, Any]] = {
        "Onetime": {},
        "Hourly": {"repeatInterval": f"PT{hourly}H"},
        "Daily": {},
        "Weekly": {"daysOfWeek": times.days(weekly, "--weekly") if weekly else None},
        "Monthly": {"daysOfMonth": _numbers(monthly) if monthly else None},
        "": {"cronExpression": cron},
    }
    given = dict(zip(kinds, (once, hourly is not None, daily, weekly, monthly, cron), strict=True))
    chosen = [kind for kind, told in given.items() if told]
    if len(chosen) != 1:
        raise UsageError("Give one of --once, --hourly, --daily, --weekly, --monthly and --cron.")
    told = {
        "frequency": chosen[0] or None,
        "executionTime": times.time_of_day(at, "--at") if at else None,
        "startDate": start,
        "endDate": end,
    }
    told |= kinds[chosen[0]]
    beside = {"timeZone": time_zone, "onOverlap": None if on_overlap is None else str(on_overlap)}
    wherry = {word: value for word, value in beside.items() if value is not None}
    with session(group, mover, project) as here:
        # What is not said of the new one must not be left of the old one.
        schedule = {word: told.get(word) for word in _WORDS}
        return _shown(_patch(here, name, {"schedule": schedule, **({"wherry": wherry} if wherry else {})}))


@app.command()
@answers(COLUMNS)
def show(name: Name, group: Group = None, mover: Mover = None, project: Project = None) -> Any:
    """When a job comes next, the next five times, and what became of the last."""
    with session(group, mover, project) as here:
        return _shown(here.api.get(here.at.job(name)))


@app.command()
@answers(COLUMNS)
def enable(name: Name, group: Group = None, mover: Mover = None, project: Project = None) -> Any:
    """Let a schedule start its job. You must be allowed to start it, and to let its agents into the target: you consent
    to the runs to come, and are asked again, by your rights, at each.
    """
    return _switch(name, group, mover, project, active=True)


@app.command()
@answers(COLUMNS)
def disable(name: Name, group: Group = None, mover: Mover = None, project: Project = None) -> Any:
    """Let a schedule start nothing any more; a run that goes on is left alone."""
    return _switch(name, group, mover, project, active=False)


@app.command()
def delete(name: Name, group: Group = None, mover: Mover = None, project: Project = None) -> None:
    """Take a job's schedule away; a run that goes on is left alone."""
    with session(group, mover, project) as here:
        _patch(here, name, {"schedule": None})


def _switch(
    name: str, group: str | None, mover: str | None, project: str | None, *, active: bool
) -> dict[str, Any]:
    with session(group, mover, project) as here:
        _shown(here.api.get(here.at.job(name)))
        return _shown(_patch(here, name, {"schedule": {"isActive": active}}))


def _patch(here: Any, name: str, properties: Mapping[str, Any]) -> Any:
    return here.api.patch(here.at.job(name), {"properties": properties})


def _shown(job: Mapping[str, Any]) -> dict[str, Any]:
    properties = job["properties"]
    if "schedule" not in properties:
        raise UsageError(f"The job '{job['name']}' has no schedule: set one with wherry job schedule set.")
    told = properties.get("wherry", {})
    schedule = {"isActive": False, **properties["schedule"]}
    shown = {"job": job["name"], "schedule": schedule, "timeZone": told.get("timeZone", "UTC")}
    shown["onOverlap"] = told.get("onOverlap", str(Overlap.WAIT))
    shown["next"] = told.get("nextRuns", told.get("nextRunsWhenEnabled", []))
    for word in ("scheduledBy", "waitingSince", "lastFiring"):
        if word in told:
            shown[word] = told[word]
    return shown


def _numbers(told: str) -> list[int]:
    words = times.words(told)
    if not all(word.isascii() and word.isdigit() for word in words):
        raise UsageError("--monthly takes days of the month, as 1,15.")
    return [int(word) for word in words]
