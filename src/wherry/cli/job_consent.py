"""`wherry job consent`: letting others start a job whose target one may let agents into."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from wherry.cli.connected import session
from wherry.cli.options import Group, Mover, Project, Yes, name_option
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment

app = typer.Typer(
    no_args_is_help=True, help="Consents to all runs of a job, for those who may only start it."
)

Name = Annotated[str, name_option("--job-definition-name", "--job", "-j", what="job definition")]
COLUMNS = (
    ("Id", "name"),
    ("By", "properties.authorName"),
    ("For", "properties.use"),
    ("Agents", "properties.agents"),
    ("Role", "properties.roleName"),
    ("Scope", "properties.scope"),
    ("Until", "properties.until"),
)


@app.command()
@answers(COLUMNS)
def create(
    name: Name,
    days: Annotated[int, typer.Option(min=1, max=366, metavar="N", help="For how long.")] = 30,
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
) -> Any:
    """Consent to every start of a job by whoever may start it. You must be allowed to give its agents access to the
    target; that is asked again at each start.
    """
    until = datetime.now(UTC) + timedelta(days=days)
    with session(group, mover, project) as here:
        body = {"properties": {"until": until.isoformat(timespec="seconds")}}
        return here.api.post(f"{here.at.job(name)}/consents", body)


@app.command("list")
@answers(COLUMNS)
def list_(name: Name, group: Group = None, mover: Mover = None, project: Project = None) -> Any:
    """The consents to a job that are in force."""
    with session(group, mover, project) as here:
        return here.every(f"{here.at.job(name)}/consents")


@app.command()
def delete(
    name: Name,
    consent: Annotated[str, typer.Option("--id", metavar="ID", show_default=False, help="The consent.")],
    group: Group = None,
    mover: Mover = None,
    project: Project = None,
    yes: Yes = False,
) -> None:
    """End a consent. Runs that rest on it get no new access; to end them at once, stop the job."""
    confirm(f"End the consent {consent} to the job {name}?", yes=yes)
    with session(group, mover, project) as here:
        here.api.delete(f"{here.at.job(name)}/consents/{segment(consent)}")
