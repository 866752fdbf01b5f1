"""`wherry user`: people who sign in here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli import hidden_input, user_factor
from wherry.cli.connected import session
from wherry.cli.options import Yes
from wherry.cli.output import answers, confirm, tell
from wherry.cli.place import segment

app = typer.Typer(no_args_is_help=True, help="People who sign in.")
app.add_typer(user_factor.app, name="factor")

Name = Annotated[
    str, typer.Option("--name", "-n", metavar="NAME", show_default=False, help="User name, or object id.")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", show_default=False, help="Password, in the first line; - reads standard input."
    ),
]
COLUMNS = (
    ("Name", "userPrincipalName"),
    ("Display name", "displayName"),
    ("Id", "id"),
    ("Enabled", "accountEnabled"),
    ("Must change password", "passwordProfile.forceChangePasswordNextSignIn"),
)
PASSWORD_COLUMNS = (("Name", "userPrincipalName"), ("Id", "id"), ("Password", "password"))
_USERS = "/graph/v1.0/users"


@app.command()
@answers(PASSWORD_COLUMNS)
def create(
    name: Name,
    display_name: Annotated[
        str | None, typer.Option(metavar="TEXT", show_default=False, help="Name to show.")
    ] = None,
    password_file: PasswordFile = None,
) -> Any:
    """Make a user. Without a file a first password is made up and shown once; it is changed at the first sign-in."""
    password, told = _first(password_file)
    with session() as here:
        body = {
            "userPrincipalName": name,
            "displayName": display_name or name,
            "accountEnabled": True,
            "passwordProfile": {"password": password, "forceChangePasswordNextSignIn": True},
        }
        return {**here.api.post(_USERS, body), **told}


@app.command("list")
@answers(COLUMNS)
def list_() -> Any:
    """All users."""
    with session() as here:
        return here.every(_USERS)


@app.command()
@answers(COLUMNS)
def show(name: Name) -> Any:
    """One user."""
    with session() as here:
        return here.api.get(_of(name))


@app.command()
def delete(name: Name, yes: Yes = False) -> None:
    """Delete a user with all sign-ins, memberships and role assignments, at once."""
    confirm(f"Delete the user {name}?", yes=yes)
    with session() as here:
        here.api.delete(_of(name))


@app.command()
def disable(name: Name) -> None:
    """Keep a user out and end all sign-ins, at once."""
    with session() as here:
        here.api.patch(_of(name), {"accountEnabled": False})


@app.command()
def enable(name: Name) -> None:
    """Let a user in again."""
    with session() as here:
        here.api.patch(_of(name), {"accountEnabled": True})


@app.command("sign-out")
def sign_out(name: Name) -> None:
    """End all sign-ins of a user, who may sign in again."""
    with session() as here:
        here.api.post(f"{_of(name)}/revokeSignInSessions")


@app.command("reset-password")
@answers(PASSWORD_COLUMNS)
def reset_password(name: Name, password_file: PasswordFile = None) -> Any:
    """Give a user a new first password, and end all sign-ins. Without a file it is made up and shown once."""
    password, told = _first(password_file)
    with session() as here:
        profile = {"password": password, "forceChangePasswordNextSignIn": True}
        here.api.patch(_of(name), {"passwordProfile": profile})
        return {**here.api.get(_of(name)), **told}


@app.command("change-password")
def change_password(
    current_file: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, help="Current password; - reads stdin.")
    ] = None,
    new_file: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, help="New password; - reads stdin.")
    ] = None,
) -> None:
    """Change your own password; your other sign-ins end. Both are asked for where no files are given."""
    current = hidden_input.read(current_file) if current_file else hidden_input.ask("Current password")
    new = hidden_input.read(new_file) if new_file else hidden_input.ask("New password", twice=True)
    with session() as here:
        here.api.post("/graph/v1.0/me/changePassword", {"currentPassword": current, "newPassword": new})
    tell("The password was changed.")


def _first(file: Path | None) -> tuple[str, dict[str, str]]:
    """A first password, and what is to be shown of it: nothing of one that was given."""
    if file is not None:
        return hidden_input.read(file), {}
    from wherry.trust import passwords

    made = passwords.random_password()
    return made, {"password": made}


def _of(name: str) -> str:
    return f"{_USERS}/{segment(name)}"
