"""`wherry install` and `wherry uninstall`: the control plane as a service of this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.output import tell

Root = Annotated[
    Path,
    typer.Option(metavar="DIR", help="The tree of an image, in which nothing is started; / is this machine."),
]


def install(
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it listens.")] = "0.0.0.0:8443",
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", show_default=False, help="How others reach it: https://HOST[:PORT]."),
    ] = None,
    further_hosts: Annotated[
        str | None,
        typer.Option(
            metavar="HOSTS", show_default=False, help="Further names and addresses, with commas between."
        ),
    ] = None,
    master_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="The master key, encrypted by systemd-creds for this machine; else it lies in the state.",
        ),
    ] = None,
    program: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="The program wherry; by default this one."),
    ] = None,
    root: Root = Path("/"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the unit.")] = False,
) -> None:
    """Run the control plane as a service of systemd: in a cage, as a user that exists only with it.

    Its state is /var/lib/wherry. The first administrator's password is in its journal, once.
    """
    from wherry.control import install as services

    wanted = services.Wanted(program or _own(), listen, public_url, further_hosts, master_key)
    if dry_run:
        print(services.text(wanted), end="")
        return
    for line in services.install(wanted, root):
        tell(line)


def uninstall(root: Root = Path("/")) -> None:
    """Stop the service and remove its unit; its state stays."""
    from wherry.control import install as services

    for line in services.uninstall(root):
        tell(line)


def _own() -> Path:
    """The program that runs now, by its whole path."""
    beside = Path(sys.executable).with_name("wherry")
    found = str(beside) if beside.exists() else shutil.which("wherry") or sys.argv[0]
    return Path(found).absolute()
