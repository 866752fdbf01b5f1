"""`wherry access`: why somebody may do something, and who can reach a target now."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli.connected import session
from wherry.cli.output import Ended, answers
from wherry.model import ids

app = typer.Typer(no_args_is_help=True, help="Who may do what, until when, and why.")

_PROVIDER = "providers/Microsoft.Authorization"
WHY_COLUMNS = (
    ("Allowed", "allowed"),
    ("Reason", "reason"),
    ("Principal", "principal.name"),
    ("Action", "action"),
    ("Scope", "scope"),
    ("Decided by", "decidedBy"),
    ("Missing", "assignments[?lacks].join(': ', [roleName, lacks])"),
    ("Roles that would do", "wouldBeAllowedBy[].roleName"),
)
WHO_COLUMNS = (
    ("Principal", "principal"),
    ("Kind", "kind"),
    ("May", "may"),
    ("Role", "role"),
    ("Scope", "scope"),
    ("Until", "until"),
    ("Via group", "viaGroup"),
    ("Why", "why"),
)


@app.command()
@answers(WHY_COLUMNS)
def why(
    principal: Annotated[
        str, typer.Option(metavar="WHO", show_default=False, help="Object id, client id, or a user's name.")
    ],
    action: Annotated[
        str,
        typer.Option(
            metavar="ACTION", show_default=False, help="Such as Microsoft.StorageMover/storageMovers/read."
        ),
    ],
    scope: Annotated[
        str, typer.Option(metavar="ID", show_default=False, help="Where: the id of a resource, or / for all.")
    ],
    data: Annotated[bool, typer.Option("--data", help="It is an action on data, not on resources.")] = False,
) -> Any:
    """Why somebody may do something, or what is missing. Exits with 1 when they may not."""
    with session() as here:
        where = ids.check(scope).rstrip("/")
        found = here.api.get(
            f"{where}/{_PROVIDER}/accessDecisions", principal=principal, action=action, data=str(data).lower()
        )
    return Ended(found, 0 if found["allowed"] else 1)


@app.command()
@answers(WHO_COLUMNS)
def who(
    target: Annotated[
        str,
        typer.Option(
            metavar="ID",
            show_default=False,
            help="The id of a container, an endpoint, a storage account, a vault …",
        ),
    ],
) -> Any:
    """Everybody who can reach the data of a target now, and each credential that is out for it."""
    with session() as here:
        found = here.api.get(f"{ids.check(target).rstrip('/')}/{_PROVIDER}/accessHolders")
    holders = [
        {
            "principal": one["principal"]["name"],
            "principalId": one["principal"]["id"],
            "kind": one["principal"]["kind"],
            "may": one["may"],
            "role": one["roleName"],
            "scope": one["scope"],
            "until": one["until"],
            "viaGroup": one["viaGroup"],
            "why": one["why"].get("description") or f"assigned by {one['why']['assignedBy']}",
            "runs": one["why"].get("runs", []),
            "assignment": one["roleAssignment"],
        }
        for one in found["holders"]
    ]
    credentials = [
        {
            "principal": one["name"],
            "kind": one["driver"],
            "may": [one["access"]],
            "scope": one["place"],
            "until": one["until"],
            "why": f"{one['state']}, for {one['run']}",
            "runs": [one["run"]],
        }
        for one in found["credentials"]
    ]
    return holders + credentials
