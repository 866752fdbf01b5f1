"""`wherry sign-in`: other OpenID providers by which people may sign in, and whom users are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli import hidden_input
from wherry.cli.connected import session
from wherry.cli.options import Yes, name_option
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment

app = typer.Typer(no_args_is_help=True, help="Signing in by another OpenID provider.")
provider = typer.Typer(
    no_args_is_help=True, help="The providers: they say who somebody is, never what they may do."
)
identity = typer.Typer(no_args_is_help=True, help="Whom users are at a provider.")
app.add_typer(provider, name="provider")
app.add_typer(identity, name="identity")

Name = Annotated[str, name_option(what="provider")]
User = Annotated[
    str, typer.Option("--user", metavar="NAME", show_default=False, help="User name, or object id.")
]
COLUMNS = (
    ("Name", "id"),
    ("Shown as", "displayName"),
    ("Issuer", "issuer"),
    ("Client", "clientId"),
    ("Redirect address", "redirectUri"),
    ("Enabled", "enabled"),
    ("Subjects let in", "allowedSubjects"),
    ("Groups let in", "allowedGroups"),
    ("Second factor by amr", "secondFactor.amr"),
    ("Second factor by acr", "secondFactor.acr"),
)
IDENTITY_COLUMNS = (
    ("Id", "id"),
    ("Issuer", "issuer"),
    ("Subject", "subject"),
    ("Invited", "invited"),
    ("Last sign-in", "lastSignInDateTime"),
)
_PROVIDERS = "/graph/v1.0/identity/identityProviders"


@provider.command()
@answers(COLUMNS)
def add(
    name: Name,
    issuer: Annotated[
        str,
        typer.Option(metavar="URL", show_default=False, help="As the provider calls itself, to the letter."),
    ],
    client_id: Annotated[
        str, typer.Option(metavar="ID", show_default=False, help="What this deployment is called there.")
    ],
    client_secret_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Its secret, in the first line; - reads standard input."
        ),
    ] = None,
    display_name: Annotated[
        str | None, typer.Option(metavar="TEXT", show_default=False, help="What the button says.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", show_default=False, help="What is asked for beside openid: profile."),
    ] = None,
    allow_subject: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUB", show_default=False, help="Let this subject in; a user is made, without roles."
        ),
    ] = None,
    allow_group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP", show_default=False, help="The same for all of a group of the provider."
        ),
    ] = None,
    groups_claim: Annotated[str, typer.Option(metavar="CLAIM", help="Where it tells groups.")] = "groups",
    factor_amr: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE", show_default=False, help="A value of amr that counts as a second factor."
        ),
    ] = None,
    factor_acr: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE", show_default=False, help="A value of acr that counts as a second factor."
        ),
    ] = None,
    no_auth_time: Annotated[
        bool,
        typer.Option(
            "--no-auth-time", help="It does not tell when somebody signed in: have them do so each time."
        ),
    ] = False,
    provider_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Authority of its certificate; else the system's."
        ),
    ] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Keep it, but do not offer it.")] = False,
) -> Any:
    """Let people sign in by a provider; replaces the one of this name. The secret goes to the vault.

    Register the redirect address that is answered at the provider. Nobody is let in until subjects or groups are
    allowed here, or linked to users: wherry sign-in identity add.
    """
    body: dict[str, Any] = {
        "displayName": display_name or name,
        "issuer": issuer,
        "clientId": client_id,
        "scopes": scope or ["profile"],
        "allowedSubjects": allow_subject or [],
        "allowedGroups": allow_group or [],
        "groupsClaim": groups_claim,
        "secondFactor": {"amr": factor_amr or [], "acr": factor_acr or []},
        "tellsAuthTime": not no_auth_time,
        "enabled": not disabled,
    }
    if client_secret_file is not None:
        body["clientSecret"] = hidden_input.read(client_secret_file)
    if provider_ca is not None:
        body["caCertificate"] = provider_ca.read_text()
    with session() as here:
        return here.api.put(f"{_PROVIDERS}/{segment(name)}", body)


@provider.command("list")
@answers(COLUMNS)
def list_() -> Any:
    """All providers."""
    with session() as here:
        return here.every(_PROVIDERS)


@provider.command()
@answers(COLUMNS)
def show(name: Name) -> Any:
    """One provider; never its secret."""
    with session() as here:
        return here.api.get(f"{_PROVIDERS}/{segment(name)}")


@provider.command()
def remove(name: Name, yes: Yes = False) -> None:
    """Forget a provider and whom users are there; the users stay."""
    confirm(f"Forget the provider {name}?", yes=yes)
    with session() as here:
        here.api.delete(f"{_PROVIDERS}/{segment(name)}")


@identity.command("add")
@answers(IDENTITY_COLUMNS)
def add_identity(
    user: User,
    by: Annotated[str, typer.Option("--provider", metavar="NAME", show_default=False, help="The provider.")],
    subject: Annotated[
        str, typer.Option(metavar="SUB", show_default=False, help="The claim sub there; never an address.")
    ],
) -> Any:
    """A subject of a provider is this user from now on."""
    with session() as here:
        return here.api.post(_identities(user), {"provider": by, "subject": subject})


@identity.command("list")
@answers(IDENTITY_COLUMNS)
def list_identities(user: User) -> Any:
    """Whom a user is elsewhere."""
    with session() as here:
        return here.every(_identities(user))


@identity.command("remove")
def remove_identity(
    user: User,
    identity_id: Annotated[
        str, typer.Option("--id", metavar="ID", show_default=False, help="Of the identity.")
    ],
    yes: Yes = False,
) -> None:
    """A subject is this user no more; all sign-ins of the user end."""
    confirm(f"Take this identity from {user}?", yes=yes)
    with session() as here:
        here.api.delete(f"{_identities(user)}/{segment(identity_id)}")


def _identities(user: str) -> str:
    return f"/graph/v1.0/users/{segment(user)}/identities"
