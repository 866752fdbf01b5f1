"""`wherry user factor`: what people prove more than a password with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli.connected import session
from wherry.cli.options import Yes
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment

app = typer.Typer(no_args_is_help=True, help="Second factors of people.")

Name = Annotated[
    str, typer.Option("--name", "-n", metavar="NAME", show_default=False, help="User name, or object id.")
]
COLUMNS = (
    ("Name", "displayName"),
    ("Since", "createdDateTime"),
    ("Last used", "lastUsedDateTime"),
    ("Left", "left"),
    ("Id", "id"),
)


@app.command("list")
@answers(COLUMNS)
def list_(name: Name) -> Any:
    """The second factors of a user, and how many recovery codes are left."""
    with session() as here:
        return here.api.get(f"{_of(name)}/methods")["value"]


@app.command()
def reset(name: Name, yes: Yes = False) -> None:
    """Forget all second factors and recovery codes of a user, and end all sign-ins; the next one sets up another."""
    confirm(f"Forget all second factors of {name}?", yes=yes)
    with session() as here:
        here.api.post(f"{_of(name)}/reset")


def _of(name: str) -> str:
    return f"/graph/v1.0/users/{segment(name)}/authentication"
