"""`wherry config`: what a person does not want to type each time."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli import defaults
from wherry.cli.output import answers
from wherry.model.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Defaults for options.")

_Setting = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY=VALUE...", help="defaults.group, defaults.mover, defaults.project, defaults.output."
    ),
]


@app.command("set")
def set_(settings: _Setting) -> None:
    """Set defaults; an empty value forgets one: wherry config set defaults.group=lab."""
    told = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"'{setting}' is not KEY=VALUE, such as defaults.group=lab.")
        told[key] = value
    defaults.change(told)


@app.command()
@answers((("Group", "defaults.group"), ("Mover", "defaults.mover"), ("Project", "defaults.project"),
          ("Output", "defaults.output"), ("URL", "deployment.WHERRY_URL")))  # fmt: skip
def show() -> Any:
    """Show the defaults, and the deployment that was signed in to last."""
    return defaults.every()
