"""All commands of `wherry`, put together.  Called by `main` alone; importing it costs no more than Typer.

The module of a command is imported when that command is asked for, so that none waits for what another one needs.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from wherry import __version__

# Where each command is: module and function, or the Typer app of a noun.
_COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("serve", "serve"),
    "env": ("serve", "env"),
    "install": ("install", "install"),
    "uninstall": ("install", "uninstall"),
    "doctor": ("doctor", "doctor"),
    "backup": ("backup", "backup"),
    "restore": ("backup", "restore"),
    "api": ("api", "api"),
    "login": ("login", "login"),
    "logout": ("login", "logout"),
    "copy": ("copy", "copy"),
    "demo": ("demo", "demo"),
    "exit-codes": ("exits", "tell_all"),
    "device": ("serve", "device"),
    "group": ("group", "app"),
    "mover": ("mover", "app"),
    "project": ("project", "app"),
    "endpoint": ("endpoint", "app"),
    "agent": ("agent", "app"),
    "package": ("package", "app"),
    "agent-group": ("agent_group", "app"),
    "private-link-scope": ("private_link", "app"),
    "job": ("job", "app"),
    "run": ("run", "app"),
    "log": ("log", "app"),
    "storage": ("storage", "accounts"),
    "container": ("storage", "containers"),
    "vault": ("vault", "app"),
    "role": ("role", "app"),
    "access": ("access", "app"),
    "audit": ("audit", "app"),
    "user": ("user", "app"),
    "user-group": ("user_group", "app"),
    "service-principal": ("service_principal", "app"),
    "sign-in": ("sign_in", "app"),
    "config": ("config", "app"),
    # As `az storage-mover` has them.
    "job-definition": ("job", "app"),
    "job-run": ("run", "app"),
}
_HIDDEN = ("job-definition", "job-run")


class _Commands(MutableMapping[str, Any]):
    """The commands by name, each made when it is looked up."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _made(name, *_COMMANDS[name])
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Program(TyperGroup):
    """The group of all commands."""

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self.commands = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


def _made(name: str, module: str, attribute: str) -> Any:
    found = import_module(f"wherry.cli.{module}")
    what = getattr(found, attribute)
    if isinstance(what, typer.Typer):
        what.rich_markup_mode = None
        group = typer.main.get_group(what)
        group.name, group.hidden = name, name in _HIDDEN
        return group
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, cls=getattr(found, "Help", TyperCommand))(what)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(told: bool) -> None:
    if told:
        print(f"wherry {__version__}")
        raise typer.Exit


@app.callback()
def wherry(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version and end.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Tell requests and traces, without secrets. May stand anywhere.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours. May stand anywhere.")] = False,
) -> None:
    """Wherry, an open, self-hosted storage mover.

    Data goes to standard output: a table on a terminal, else JSON (--output, --query); all else to standard error.
    Errors say what to do; exit codes are told by: wherry exit-codes.
    """
