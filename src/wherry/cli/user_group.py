"""`wherry user-group`: groups of users and programs, for roles that many have.

Called so because `wherry group` is, as in `az`, a resource group.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli.connected import Session, session
from wherry.cli.options import Description, Yes
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment
from wherry.model import ids
from wherry.model.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Groups of users and programs, which roles can be given to.")
member = typer.Typer(no_args_is_help=True, help="Members of a group.")
app.add_typer(member, name="member")

Name = Annotated[
    str,
    typer.Option("--name", "-n", metavar="NAME", show_default=False, help="Name of the group, or object id."),
]
Member = Annotated[
    str,
    typer.Option(
        "--member",
        metavar="ID",
        show_default=False,
        help="Object id of a user, a program, an agent or a group.",
    ),
]
COLUMNS = (("Name", "displayName"), ("Id", "id"), ("Description", "description"))
MEMBER_COLUMNS = (
    ("Name", "userPrincipalName || displayName"),
    ("Id", "id"),
    ("Kind", '"@odata.type"'),
)
_GROUPS = "/graph/v1.0/groups"


@app.command()
@answers(COLUMNS)
def create(name: Name, description: Description = None) -> Any:
    """Make an empty group."""
    with session() as here:
        body = {"displayName": name, "mailNickname": name[:64], "mailEnabled": False, "securityEnabled": True}
        return here.api.post(_GROUPS, {**body, **({"description": description} if description else {})})


@app.command("list")
@answers(COLUMNS)
def list_() -> Any:
    """All groups."""
    with session() as here:
        return here.every(_GROUPS)


@app.command()
@answers(COLUMNS)
def show(name: Name) -> Any:
    """One group."""
    with session() as here:
        return here.api.get(_of(here, name))


@app.command()
def delete(name: Name, yes: Yes = False) -> None:
    """Delete a group with its role assignments; its members stay."""
    confirm(f"Delete the group {name}?", yes=yes)
    with session() as here:
        here.api.delete(_of(here, name))


@member.command("add")
def add_member(name: Name, who: Member) -> None:
    """Put somebody into a group."""
    with session() as here:
        reference = {"@odata.id": f"{here.api.profile.url}/graph/v1.0/directoryObjects/{segment(who)}"}
        here.api.post(f"{_of(here, name)}/members/$ref", reference)


@member.command("remove")
def remove_member(name: Name, who: Member) -> None:
    """Take somebody out of a group."""
    with session() as here:
        here.api.delete(f"{_of(here, name)}/members/{segment(who)}/$ref")


@member.command("list")
@answers(MEMBER_COLUMNS)
def list_members(
    name: Name,
    all_: Annotated[bool, typer.Option("--all", help="Those of groups among the members, too.")] = False,
) -> Any:
    """The members of a group."""
    with session() as here:
        return here.every(f"{_of(here, name)}/{'transitiveMembers' if all_ else 'members'}")


def _of(here: Session, name: str) -> str:
    if ids.GUID.match(name):
        return f"{_GROUPS}/{name}"
    quoted = name.replace("'", "''")
    for one in here.every(_GROUPS, **{"$filter": f"displayName eq '{quoted}'"}):
        return f"{_GROUPS}/{one['id']}"
    raise UsageError(f"There is no group '{name}'. See: wherry user-group list.")
