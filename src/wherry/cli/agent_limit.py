"""`wherry agent limit`: how much an agent may send at which times of the week."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from wherry.cli import times
from wherry.cli.connected import Session, session
from wherry.cli.options import Group, Mover, name_option
from wherry.cli.output import answers
from wherry.model.schedules import DAYS

app = typer.Typer(no_args_is_help=True, help="How much an agent may send at which times of the week.")

Name = Annotated[str, name_option("--agent-name", what="agent")]
COLUMNS = (
    ("Days", "days"),
    ("From", "join(':', [to_string(startTime.hour), to_string(startTime.minute || `0`)])"),
    ("To", "join(':', [to_string(endTime.hour), to_string(endTime.minute || `0`)])"),
    ("Mbit/s", "limitInMbps"),
)
_SCHEDULE, _WINDOWS = "uploadLimitSchedule", "weeklyRecurrences"


@app.command("list")
@answers(COLUMNS)
def list_(name: Name, group: Group = None, mover: Mover = None) -> Any:
    """The limits of an agent; what it keeps at this moment is in `wherry agent show`."""
    with session(group, mover) as here:
        return _windows(_agent(here, name))


@app.command()
@answers(COLUMNS)
def add(
    name: Name,
    mbps: Annotated[
        int,
        typer.Option(
            min=0, max=2**31 - 1, metavar="N", show_default=False, help="Mbit/s at most; 0 is a pause."
        ),
    ],
    days: Annotated[str, typer.Option(metavar="DAYS", help="On these days, as Monday,Friday.")] = ",".join(
        DAYS
    ),
    begin: Annotated[str, typer.Option("--from", metavar="HH:MM", help="From this time of day on.")] = "0:00",
    end: Annotated[str, typer.Option("--to", metavar="HH:MM", help="Until this time of day.")] = "24:00",
    time_zone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="All times are of this zone; by default the agent's own."
        ),
    ] = None,
    group: Group = None,
    mover: Mover = None,
) -> Any:
    """Add a limit. Limits must not overlap; outside of all there is none. Runs that go on keep it at once."""
    window = {
        "days": times.days(days, "--days"),
        "startTime": times.time_of_day(begin, "--from"),
        "endTime": times.time_of_day(end, "--to"),
        "limitInMbps": mbps,
    }
    with session(group, mover) as here:
        return _set(here, name, [*_windows(_agent(here, name)), window], time_zone)


@app.command()
def clear(name: Name, group: Group = None, mover: Mover = None) -> None:
    """Take all limits of an agent away."""
    with session(group, mover) as here:
        _set(here, name, [])


@app.command("import")
@answers(COLUMNS)
def import_(
    name: Name,
    source: Annotated[
        str, typer.Option("--from-agent", metavar="NAME", show_default=False, help="Whose limits to take.")
    ],
    group: Group = None,
    mover: Mover = None,
) -> Any:
    """Give an agent the limits of another one in place of its own, and the time zone that they are told in."""
    with session(group, mover) as here:
        found = _agent(here, source)
        return _set(here, name, _windows(found), found.get("wherry", {}).get("timeZone"))


def _agent(here: Session, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = here.api.get(here.at.of_mover("agents", name))["properties"]
    return found


def _windows(agent: Mapping[str, Any]) -> list[Any]:
    return list(agent.get(_SCHEDULE, {}).get(_WINDOWS, []))


def _set(here: Session, name: str, windows: list[Any], zone: str | None = None) -> list[Any]:
    properties: dict[str, Any] = {_SCHEDULE: {_WINDOWS: windows}}
    if zone is not None:
        properties["wherry"] = {"timeZone": zone}
    return _windows(
        here.api.patch(here.at.of_mover("agents", name), {"properties": properties})["properties"]
    )
