"""All commands of `wherry`, put together.  Called by `main` alone; importing it costs no more than Typer."""

from __future__ import annotations

from typing import Annotated

import typer

from wherry import __version__
from wherry.cli import (
    agent,
    agent_group,
    config,
    copy,
    demo,
    endpoint,
    exits,
    group,
    job,
    log,
    login,
    mover,
    project,
    role,
    run,
    serve,
    storage,
)

app = typer.Typer(
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


def exit_codes() -> None:
    """Tell what exit codes mean."""
    for code, meaning in exits.MEANING.items():
        print(f"{int(code):>4}  {meaning}")


for _command in (serve.serve, serve.env, login.login, login.logout, copy.copy, demo.demo):
    app.command()(_command)
app.command("exit-codes")(exit_codes)
for _noun, _name in (
    (serve.device, "device"),
    (group.app, "group"),
    (mover.app, "mover"),
    (project.app, "project"),
    (endpoint.app, "endpoint"),
    (agent.app, "agent"),
    (agent_group.app, "agent-group"),
    (job.app, "job"),
    (run.app, "run"),
    (log.app, "log"),
    (storage.accounts, "storage"),
    (storage.containers, "container"),
    (role.app, "role"),
    (config.app, "config"),
):
    app.add_typer(_noun, name=_name)
# As `az storage-mover` has them.
app.add_typer(job.app, name="job-definition", hidden=True)
app.add_typer(run.app, name="job-run", hidden=True)
