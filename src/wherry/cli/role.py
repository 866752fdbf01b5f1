"""`wherry role`: who may do what."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from wherry.cli.connected import Session, session
from wherry.cli.options import Group, Yes
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment
from wherry.model import ids
from wherry.model.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Roles, and who has them where.")

Scope = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        show_default=False,
        help="Where: the id of a resource; by default the resource group, else all.",
    ),
]
COLUMNS = (
    ("Name", "name"),
    ("Role", "roleDefinitionName"),
    ("Principal", "properties.principalId"),
    ("Type", "properties.principalType"),
    ("Scope", "properties.scope"),
    ("Description", "properties.description"),
)
DEFINITION_COLUMNS = (
    ("Role", "properties.roleName"),
    ("Id", "name"),
    ("Description", "properties.description"),
)
_NAMED = (("users", "userPrincipalName"), ("groups", "displayName"), ("servicePrincipals", "displayName"))
_PROVIDER = "providers/Microsoft.Authorization"


@app.command("list")
@answers(COLUMNS)
def list_(
    scope: Scope = None,
    group: Group = None,
    assignee: Annotated[
        str | None, typer.Option(metavar="GUID", show_default=False, help="Only those of this principal.")
    ] = None,
) -> Any:
    """Role assignments that matter at a scope."""
    with session(group) as here:
        where = _scope(here, scope, group)
        query = {"$filter": f"principalId eq '{_guid(assignee)}'"} if assignee else {}
        found = here.every(f"{where}/{_PROVIDER}/roleAssignments", **query)
        names = {one["name"]: one["properties"]["roleName"] for one in _definitions(here)}
        return [
            {**one, "roleDefinitionName": names.get(_last(one["properties"]["roleDefinitionId"]))}
            for one in found
        ]


@app.command()
@answers(DEFINITION_COLUMNS)
def definitions() -> Any:
    """The roles that can be assigned."""
    with session() as here:
        return _definitions(here)


@app.command()
@answers(COLUMNS)
def assign(
    role: Annotated[
        str, typer.Option(metavar="NAME", show_default=False, help="Name of the role, or its GUID.")
    ],
    assignee: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Name of a user, group or program, or the principal's object id.",
        ),
    ],
    scope: Scope = None,
    group: Group = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", show_default=False, help="Why.")] = None,
) -> Any:
    """Give a principal a role at a scope."""
    with session(group) as here:
        where = _scope(here, scope, group)
        properties = {"roleDefinitionId": _role(here, role), "principalId": _principal(here, assignee)}
        if description:
            properties["description"] = description
        path = f"{where}/{_PROVIDER}/roleAssignments/{uuid.uuid4()}"
        return here.api.put(path, {"properties": properties})


@app.command()
def unassign(
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="GUID", show_default=False, help="Name of the assignment.")
    ],
    scope: Scope = None,
    group: Group = None,
    yes: Yes = False,
) -> None:
    """Take a role assignment back; `scope` is where it was made."""
    confirm(f"Remove the role assignment {name}?", yes=yes)
    with session(group) as here:
        where = _scope(here, scope, group)
        if not here.api.delete(f"{where}/{_PROVIDER}/roleAssignments/{segment(name)}"):
            raise UsageError(f"There is no assignment {name} made at {where}. See: wherry role list.")


def _scope(here: Session, scope: str | None, group: str | None) -> str:
    if scope is not None:
        return ids.check(scope).rstrip("/")
    return here.at.group if group else here.at.subscription


def _definitions(here: Session) -> list[Any]:
    return here.every(f"{here.at.subscription}/{_PROVIDER}/roleDefinitions")


def _role(here: Session, role: str) -> str:
    for one in _definitions(here):
        if role.lower() in (one["name"].lower(), one["properties"]["roleName"].lower()):
            return str(one["id"])
    raise UsageError(f"There is no role '{role}'. See: wherry role definitions.")


def _principal(here: Session, told: str) -> str:
    if ids.GUID.match(told):
        return told
    quoted = told.replace("'", "''")
    found = [
        str(one["id"])
        for kind, name in _NAMED
        for one in here.every(f"/graph/v1.0/{kind}", **{"$filter": f"{name} eq '{quoted}'"})
    ]
    if len(found) != 1:
        raise UsageError(
            f"There are {len(found)} users, groups and programs '{told}': name one by its object id."
        )
    return found[0]


def _guid(text: str) -> str:
    if not ids.GUID.match(text):
        raise UsageError(f"'{text}' is no object id of a principal (a GUID).")
    return text


def _last(path: str) -> str:
    return path.rpartition("/")[2]
