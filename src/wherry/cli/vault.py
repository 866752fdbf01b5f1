"""`wherry vault`: vaults, and the secrets in them.  No value is ever taken from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.cli import defaults, hidden_input
from wherry.cli.connected import session
from wherry.cli.options import LOCATION, Group, Location, MasterKeySource, State, Yes, name_option
from wherry.cli.output import answers, confirm, tell
from wherry.cli.place import segment
from wherry.model.errors import UsageError

if TYPE_CHECKING:
    from wherry.client.vault import VaultClient

app = typer.Typer(no_args_is_help=True, help="Vaults: secrets that are kept sealed, for whoever has a role.")
secrets = typer.Typer(no_args_is_help=True, help="The secrets of a vault.")
app.add_typer(secrets, name="secret")

Name = Annotated[str, name_option(what="vault")]
Secret = Annotated[str, name_option(what="secret")]
Vault = Annotated[
    str, typer.Option("--vault-name", "--vault", metavar="NAME", envvar="WHERRY_VAULT", help="The vault.")
]
COLUMNS = (("Name", "name"), ("Address", "properties.vaultUri"), ("Id", "id"))
SECRET_COLUMNS = (
    ("Id", "id"),
    ("Enabled", "attributes.enabled"),
    ("Expires", "attributes.exp"),
    ("Content", "contentType"),
    ("Tags", "tags"),
    ("Value", "value"),
)
_VAULTS = "providers/Microsoft.KeyVault/vaults"


@app.command()
@answers(COLUMNS)
def create(
    name: Name = "default",
    retention_days: Annotated[
        int, typer.Option(metavar="DAYS", min=7, max=90, help="How long what is deleted can be recovered.")
    ] = 90,
    purge_protection: Annotated[
        bool, typer.Option("--purge-protection", help="Nothing can be purged before that; for good.")
    ] = False,
    group: Group = None,
    location: Location = LOCATION,
) -> Any:
    """Make a vault. The one called default is at the control plane's own address."""
    told: dict[str, Any] = {"softDeleteRetentionInDays": retention_days}
    if purge_protection:
        told["enablePurgeProtection"] = True
    with session(group) as here:
        path = f"{here.at.group}/{_VAULTS}/{segment(name)}"
        return here.api.put(path, {"location": location, "properties": told})


@app.command("list")
@answers(COLUMNS)
def list_() -> Any:
    """The vaults of all groups."""
    with session() as here:
        return here.every(f"{here.at.subscription}/{_VAULTS}")


@app.command()
@answers(COLUMNS)
def show(name: Name = "default", group: Group = None) -> Any:
    """One vault."""
    with session(group) as here:
        return here.api.get(f"{here.at.group}/{_VAULTS}/{segment(name)}")


@app.command()
def delete(name: Name, group: Group = None, yes: Yes = False) -> None:
    """Delete an empty vault."""
    confirm(f"Delete the vault {name}?", yes=yes)
    with session(group) as here:
        here.api.delete(f"{here.at.group}/{_VAULTS}/{segment(name)}")


@app.command("rotate-master-key")
def rotate_master_key(
    state: State,
    master_key: MasterKeySource = None,
    new_master_key: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            show_default=False,
            help="Source of the new one; by default one is made in its file.",
        ),
    ] = None,
) -> None:
    """Seal everything with another master key, on the control plane's machine while it is stopped."""
    from wherry.control.deployment import rotate_master_key as rotate

    count = rotate(state, master_key, new_master_key)
    tell(f"Sealed {count} values anew. Keep the old key as long as you keep backups that were made with it.")


@secrets.command("set")
@answers(SECRET_COLUMNS)
def set_secret(
    name: Secret,
    vault: Vault = "default",
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="The value: the first line; - reads standard input. Else asked for.",
        ),
    ] = None,
    content_type: Annotated[
        str | None, typer.Option(metavar="TEXT", show_default=False, help="What it is.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", show_default=False, help="Such as 2027-01-31 or 2027-01-31T12:00:00Z."),
    ] = None,
) -> Any:
    """Keep a value as a new version. What is answered does not repeat it."""
    value = hidden_input.ask("Value", twice=True) if file is None else hidden_input.read(file)
    body: dict[str, Any] = {"value": value}
    if content_type is not None:
        body["contentType"] = content_type
    if expires is not None:
        body["attributes"] = {"exp": _time(expires)}
    with _vault(vault) as client:
        return _without_value(client.set(name, body))


@secrets.command("show")
@answers(SECRET_COLUMNS)
def show_secret(
    name: Secret,
    vault: Vault = "default",
    version: Annotated[
        str, typer.Option(metavar="ID", show_default=False, help="By default the latest.")
    ] = "",
    reveal: Annotated[bool, typer.Option("--reveal", help="With the value; that is audited.")] = False,
) -> Any:
    """What is said of a secret; its value only with --reveal."""
    with _vault(vault) as client:
        if reveal:
            return client.get(name, version)
        found = [one for one in client.versions(name) if not version or one["id"].endswith(f"/{version}")]
    if not found:
        raise UsageError(
            f"The secret '{name}' has no version '{version}'. See: wherry vault secret versions."
        )
    return found[-1]


@secrets.command("versions")
@answers(SECRET_COLUMNS)
def versions(name: Secret, vault: Vault = "default") -> Any:
    """All versions of a secret, the oldest first."""
    with _vault(vault) as client:
        return list(client.versions(name))


@secrets.command("list")
@answers(SECRET_COLUMNS)
def list_secrets(
    vault: Vault = "default",
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Those that are deleted and can be recovered.")
    ] = False,
) -> Any:
    """The secrets of a vault, without values."""
    with _vault(vault) as client:
        return list(client.every(deleted=deleted))


@secrets.command("delete")
@answers(SECRET_COLUMNS)
def delete_secret(name: Secret, vault: Vault = "default", yes: Yes = False) -> Any:
    """Delete a secret with all versions; it can be recovered for a while."""
    confirm(f"Delete the secret {name}?", yes=yes)
    with _vault(vault) as client:
        return client.delete(name)


@secrets.command("recover")
@answers(SECRET_COLUMNS)
def recover_secret(name: Secret, vault: Vault = "default") -> Any:
    """Take a deleted secret back."""
    with _vault(vault) as client:
        return client.recover(name)


@secrets.command("purge")
def purge_secret(name: Secret, vault: Vault = "default", yes: Yes = False) -> None:
    """Forget a deleted secret for good."""
    confirm(f"Purge the secret {name}? Nothing brings it back.", yes=yes)
    with _vault(vault) as client:
        client.purge(name)


@contextmanager
def _vault(name: str) -> Iterator[VaultClient]:
    from wherry.client.login import SignIn
    from wherry.client.vault import VaultClient

    profile = defaults.profile()
    with VaultClient(profile, SignIn(profile), segment(name)) as client:
        yield client


def _without_value(found: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in found.items() if name != "value"}


def _time(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"'{text}' is no time, such as 2027-01-31T12:00:00Z.") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
