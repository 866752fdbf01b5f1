"""`wherry agent install|uninstall|identity-endpoint`: the agent as services of its machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.output import tell
from wherry.model.errors import UsageError

Root = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="The tree of an image in place of the running system; nothing is started there."
    ),
]
Audience = Annotated[
    list[str] | None,
    typer.Option(
        "--identity-audience", metavar="URL", show_default=False, help="What tokens may be for; repeatable."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to those of the noun."""
    app.command()(install)
    app.command()(uninstall)
    app.command("identity-endpoint", hidden=True)(identity_endpoint)


def install(
    allow_source: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", show_default=False, help="A folder that jobs may read; repeatable."),
    ] = None,
    allow_target: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", show_default=False, help="A folder that jobs may write; repeatable."),
    ] = None,
    ssh_listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", show_default=False, help="Serve the admin shell by SSH there."),
    ] = None,
    console: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TTY",
            show_default=False,
            help="A terminal, such as tty1, that gets the admin shell in place of a log-in; repeatable.",
        ),
    ] = None,
    newer_menus: Annotated[bool, typer.Option("--newer-menus", help="Menus as in newer versions.")] = False,
    helper: Annotated[
        bool, typer.Option(help="Let the admin shell change network, name and time of this machine.")
    ] = True,
    identity_endpoint: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            show_default=False,
            help="Give programs of this machine tokens of its identity, on this port of 127.0.0.1.",
        ),
    ] = None,
    identity_audience: Audience = None,
    publisher: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Public key of whose programs the agent may become; repeatable.",
        ),
    ] = None,
    program: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="The program wherry; by default the one that runs."
        ),
    ] = None,
    root: Root = Path("/"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the units, and do nothing.")] = False,
    remove: Annotated[bool, typer.Option("--uninstall", help="Take the services away again.")] = False,
) -> None:
    """Make the agent a service of this machine that systemd starts, watches and confines."""
    from wherry.agent import install as installing
    from wherry.agent.units import Identity, Wanted

    if remove:
        uninstall(root)
        return
    if identity_audience and identity_endpoint is None:
        raise UsageError("--identity-audience needs --identity-endpoint PORT.")
    wanted = Wanted(
        program or Path(sys.executable).with_name("wherry"),
        tuple(allow_source or ()),
        tuple(allow_target or ()),
        ssh_listen,
        tuple(word for file in publisher or () for word in ("--publisher", str(file.absolute()))),
        newer_menus,
        helper,
        None if identity_endpoint is None else Identity(identity_endpoint, tuple(identity_audience or ())),
        tuple(console or ()),
    )
    if dry_run:
        for name, text in installing.contents(wanted).items():
            print(f"# /{name}\n{text}")
        return
    for line in installing.install(installing.Place(root.absolute()), wanted):
        tell(line)


def uninstall(root: Root = Path("/")) -> None:
    """Stop the agent's services and remove them; what the agent is registered as stays."""
    from wherry.agent import install as installing

    for line in installing.uninstall(installing.Place(root.absolute())):
        tell(line)


def identity_endpoint(
    port: Annotated[int, typer.Argument(metavar="PORT", min=0, max=65535)],
    socket: Annotated[Path, typer.Option(metavar="FILE", help="Where the agent gives tokens.")],
    directory: Annotated[Path, typer.Option(metavar="DIR", help="Where it tells its port.")],
    identity_group: Annotated[str | None, typer.Option(metavar="GROUP", help="Who may have tokens.")] = None,
    identity_audience: Audience = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where challenges are kept; by default where clients look."),
    ] = None,
) -> None:
    """Serve the identity endpoint in a process of its own, which asks the agent for tokens."""
    import signal
    import threading
    from contextlib import closing

    from wherry.agent import log_lines
    from wherry.agent.challenges import FOLDER
    from wherry.agent.identity_endpoint import AUDIENCES, IdentityEndpoint, IdentityOptions
    from wherry.agent.identity_tokens import asked_at
    from wherry.agent.systemd import Systemd

    log_lines.configure()
    systemd, over = Systemd.named(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    options = IdentityOptions(port, tuple(identity_audience or AUDIENCES), identity_group, folder or FOLDER)
    with closing(IdentityEndpoint(options, asked_at(socket), directory)):
        systemd.ready("Programs of this machine get tokens.")
        over.wait()
        systemd.stopping()
