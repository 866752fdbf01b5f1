"""`wherry storage` and `wherry container`: registrations of real back ends, whose keys the control plane keeps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.connected import session
from wherry.cli.options import LOCATION, Group, Location, Yes, name_option
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment
from wherry.model.errors import UsageError

accounts = typer.Typer(no_args_is_help=True, help="Storage accounts: registrations of real Blob services.")
containers = typer.Typer(no_args_is_help=True, help="Blob containers of a registered storage account.")

Name = Annotated[str, name_option("--account-name", what="storage account")]
Account = Annotated[
    str,
    typer.Option(
        "--account-name",
        "--storage-account",
        metavar="NAME",
        show_default=False,
        help="Storage account: its name in the group, or its id.",
    ),
]
Container = Annotated[str, name_option("--container-name", what="container")]
ACCOUNT_COLUMNS = (
    ("Name", "name"),
    ("Endpoint", "properties.wherry.blobEndpoint"),
    ("Signs as", "properties.wherry.accountName"),
)
CONTAINER_COLUMNS = (("Name", "name"), ("State", "properties.wherry.state"))


@accounts.command()
@answers(ACCOUNT_COLUMNS)
def create(
    name: Name,
    blob_endpoint: Annotated[
        str,
        typer.Option(metavar="URL", show_default=False, help="Such as https://account.blob.example.net."),
    ],
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="File that holds the account's key; - reads standard input.",
        ),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(
            "--signs-as",
            metavar="NAME",
            show_default=False,
            help="The back end's own account name, if another.",
        ),
    ] = None,
    group: Group = None,
    location: Location = LOCATION,
) -> Any:
    """Register a Blob service. Its key is read from a file or asked for, never taken from the command line."""
    told = {"blobEndpoint": blob_endpoint, "accountKey": _key(key_file)}
    if account:
        told["accountName"] = account
    with session(group) as here:
        body = {"location": location, "properties": {"wherry": told}}
        return here.api.put(f"{here.at.accounts}/{segment(name)}", body)


@accounts.command("list")
@answers(ACCOUNT_COLUMNS)
def list_(group: Group = None) -> Any:
    """The storage accounts of a group."""
    with session(group) as here:
        return here.every(here.at.accounts)


@accounts.command()
@answers(ACCOUNT_COLUMNS)
def show(name: Name, group: Group = None) -> Any:
    """One storage account; its key is never shown."""
    with session(group) as here:
        return here.api.get(here.at.account(name))


@accounts.command()
def delete(name: Name, group: Group = None, yes: Yes = False) -> None:
    """Forget a storage account and its key; the storage itself stays as it is."""
    confirm(f"Forget the storage account {name} and its key?", yes=yes)
    with session(group) as here:
        here.api.delete(here.at.account(name))


@containers.command("create")
@answers(CONTAINER_COLUMNS)
def create_container(name: Container, account: Account, group: Group = None) -> Any:
    """Register a container; it is made at the back end when it is missing there."""
    with session(group) as here:
        return here.api.put(f"{here.at.containers(account)}/{segment(name)}", {"properties": {}})


@containers.command("list")
@answers(CONTAINER_COLUMNS)
def list_containers(account: Account, group: Group = None) -> Any:
    """The registered containers of an account."""
    with session(group) as here:
        return here.every(here.at.containers(account))


@containers.command("show")
@answers(CONTAINER_COLUMNS)
def show_container(name: Container, account: Account, group: Group = None) -> Any:
    """One container, and whether the back end has it now."""
    with session(group) as here:
        return here.api.get(f"{here.at.containers(account)}/{segment(name)}")


@containers.command("delete")
def delete_container(name: Container, account: Account, group: Group = None, yes: Yes = False) -> None:
    """Forget a container; the container itself stays as it is."""
    confirm(f"Forget the container {name}?", yes=yes)
    with session(group) as here:
        here.api.delete(f"{here.at.containers(account)}/{segment(name)}")


def _key(file: Path | None) -> str:
    if file is None:
        if not sys.stdin.isatty():
            raise UsageError("Give --key-file: there is no terminal to ask for the key on.")
        return str(typer.prompt("Account key", hide_input=True, err=True)).strip()
    text = sys.stdin.read() if str(file) == "-" else file.read_text()
    if not text.strip():
        raise UsageError(f"{file} holds no key.")
    return text.strip()
