"""`wherry endpoint`: where a job reads and writes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from wherry.cli.connected import Session, described, session
from wherry.cli.options import Description, Group, Mover, NoWait, Yes, name_option
from wherry.cli.output import answers, confirm
from wherry.model.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Endpoints: where a job reads and writes.")


class Kind(StrEnum):
    """What an endpoint may be used as."""

    SOURCE = "Source"
    TARGET = "Target"


Name = Annotated[str, name_option("--endpoint-name", what="endpoint")]
COLUMNS = (
    ("Name", "name"),
    ("Type", "properties.endpointType"),
    ("Kind", "properties.endpointKind"),
    ("Path", "properties.path"),
    ("Container", "properties.blobContainerName"),
    ("Description", "properties.description"),
)


@app.command()
@answers(COLUMNS)
def create(
    name: Name,
    group: Group = None,
    mover: Mover = None,
    path: Annotated[
        str | None,
        typer.Option(metavar="DIR", show_default=False, help="A folder on the agent's machine (LocalMount)."),
    ] = None,
    storage_account_id: Annotated[
        str | None,
        typer.Option(
            "--storage-account-id",
            "--storage-account",
            metavar="ID",
            show_default=False,
            help="Storage account of a Blob container: its id, or its name in the same group.",
        ),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(
            "--container-name", "--container", metavar="NAME", show_default=False, help="Blob container."
        ),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            case_sensitive=False, show_default=False, help="What it may be used as; by default both."
        ),
    ] = None,
    description: Description = None,
) -> Any:
    """Make an endpoint: a folder (--path), or a Blob container (--storage-account-id with --container-name)."""
    with session(group, mover) as here:
        told = _place(here, path, storage_account_id, container)
        properties = described(description, endpointKind=kind and kind.value, **told)
        return here.api.put(here.at.of_mover("endpoints", name), {"properties": properties})


@app.command("list")
@answers(COLUMNS)
def list_(group: Group = None, mover: Mover = None) -> Any:
    """The endpoints of a mover."""
    with session(group, mover) as here:
        return here.every(here.at.of_mover("endpoints"))


@app.command()
@answers(COLUMNS)
def show(name: Name, group: Group = None, mover: Mover = None) -> Any:
    """One endpoint."""
    with session(group, mover) as here:
        return here.api.get(here.at.of_mover("endpoints", name))


@app.command()
def delete(
    name: Name, group: Group = None, mover: Mover = None, yes: Yes = False, no_wait: NoWait = False
) -> None:
    """Delete an endpoint; what lies there is not touched."""
    confirm(f"Delete the endpoint {name}?", yes=yes)
    with session(group, mover) as here:
        here.api.delete(here.at.of_mover("endpoints", name), wait=not no_wait)


def _place(here: Session, path: str | None, account: str | None, container: str | None) -> dict[str, Any]:
    if path is not None and account is None and container is None:
        return {"endpointType": "LocalMount", "path": path}
    if path is None and account is not None and container is not None:
        return {
            "endpointType": "AzureStorageBlobContainer",
            "storageAccountResourceId": here.at.account(account),
            "blobContainerName": container,
        }
    raise UsageError(
        "Give --path for a folder, or both --storage-account-id and --container-name for a container."
    )
