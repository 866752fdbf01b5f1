"""`wherry private-link-scope`: by which networks agents of a scope may come."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from wherry.cli.connected import session
from wherry.cli.options import Group, Location, Yes, name_option
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment

app = typer.Typer(
    no_args_is_help=True, help="Private link scopes: agents that come by private networks only."
)
connections = typer.Typer(no_args_is_help=True, help="Private endpoint connections of a scope.")
app.add_typer(connections, name="connection")

Name = Annotated[str, name_option("--scope-name", what="private link scope")]
Connection = Annotated[
    str, typer.Option("--connection", metavar="NAME", show_default=False, help="Name of the connection.")
]
COLUMNS = (
    ("Name", "name"),
    ("Public access", "properties.publicNetworkAccess"),
    ("Location", "location"),
    ("Id", "properties.privateLinkScopeId"),
)
CONNECTION_COLUMNS = (
    ("Name", "name"),
    ("State", "properties.privateLinkServiceConnectionState.status"),
    ("Networks", "properties.wherry.networks"),
)


class PublicAccess(StrEnum):
    """Whether agents of a scope may come by other networks too."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PERIMETER = "SecuredByPerimeter"


@app.command()
@answers(COLUMNS)
def create(
    name: Name,
    location: Location = "local",
    public_network_access: Annotated[
        PublicAccess, typer.Option(help="Whether its agents may come by other networks too.")
    ] = PublicAccess.DISABLED,
    group: Group = None,
) -> Any:
    """Make a private link scope, or change its public access."""
    with session(group) as here:
        body = {"location": location, "properties": {"publicNetworkAccess": public_network_access.value}}
        return here.api.put(here.at.private_link_scope(name), body)


@app.command("list")
@answers(COLUMNS)
def list_(group: Group = None) -> Any:
    """The private link scopes of a resource group."""
    with session(group) as here:
        return here.every(here.at.private_link_scopes)


@app.command()
@answers(COLUMNS)
def show(name: Name, group: Group = None) -> Any:
    """One private link scope with its connections."""
    with session(group) as here:
        return here.api.get(here.at.private_link_scope(name))


@app.command()
def delete(name: Name, group: Group = None, yes: Yes = False) -> None:
    """Delete a private link scope that no agent was registered with."""
    confirm(f"Delete the private link scope {name}?", yes=yes)
    with session(group) as here:
        here.api.delete(here.at.private_link_scope(name))


@connections.command("add")
@answers(CONNECTION_COLUMNS)
def add(
    name: Name,
    connection: Connection,
    network: Annotated[
        list[str],
        typer.Option(
            "--network", metavar="NETWORK", show_default=False, help="Such as 10.20.0.0/16; repeatable."
        ),
    ],
    group: Group = None,
) -> Any:
    """Let agents of a scope come by these networks."""
    with session(group) as here:
        state = {"status": "Approved", "description": "Approved by wherry private-link-scope."}
        properties = {"privateLinkServiceConnectionState": state, "wherry": {"networks": network}}
        path = f"{here.at.private_link_scope(name)}/privateEndpointConnections/{segment(connection)}"
        return here.api.put(path, {"properties": properties})


@connections.command("list")
@answers(CONNECTION_COLUMNS)
def list_connections(name: Name, group: Group = None) -> Any:
    """The connections of a scope."""
    with session(group) as here:
        return here.every(f"{here.at.private_link_scope(name)}/privateEndpointConnections")


@connections.command("remove")
def remove(name: Name, connection: Connection, group: Group = None, yes: Yes = False) -> None:
    """Remove a connection: agents that come by its networks alone are heard no more."""
    confirm(f"Remove the connection {connection} of {name}?", yes=yes)
    with session(group) as here:
        here.api.delete(
            f"{here.at.private_link_scope(name)}/privateEndpointConnections/{segment(connection)}"
        )
