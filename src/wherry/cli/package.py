"""`wherry package`: programs for agents, from their publisher to the service that passes them on.

A publisher builds and signs; the operator of a control plane puts up what was built; the owner of each agent's machine
names the publishers whose programs may run there (`wherry agent run --publisher`).
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.output import answers, confirm, tell
from wherry.model.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Programs for agents that upgrade themselves.")

State = Annotated[
    Path, typer.Option(metavar="DIR", show_default=False, help="State directory of the control plane.")
]
KeyFile = Annotated[
    Path, typer.Option("--key", metavar="FILE", show_default=False, help="The publisher's private key.")
]
Publishers = Annotated[
    list[Path],
    typer.Option(
        "--publisher", metavar="FILE", show_default=False, help="A publisher's public key; repeatable."
    ),
]
PackageFile = Annotated[Path, typer.Argument(metavar="PACKAGE", show_default=False)]
Version = Annotated[str, typer.Argument(metavar="VERSION", show_default=False)]
COLUMNS = (
    ("Version", "version"),
    ("Python", "python"),
    ("Size", "size"),
    ("Files", "files"),
    ("Unpacked", "unpacked"),
    ("SHA-256", "sha256"),
)


@app.command()
def key(
    private: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", show_default=False, help="Where to keep the private key; kept secret."
        ),
    ],
) -> None:
    """Make a publisher's key: FILE to sign with, FILE.pub for the owners of agents."""
    from wherry.client import kept_file
    from wherry.trust.keys import PrivateKey
    from wherry.trust.packages import write_publisher

    made = PrivateKey.for_agent()
    if not kept_file.create(private, made.pem()):
        raise UsageError(f"{private} is there already. Name another file: a key is never replaced.")
    public = private.with_name(f"{private.name}.pub")
    public.write_bytes(write_publisher(made.public))
    tell(f"Made {private} (keep it secret) and {public} (for agents: --publisher).")


@app.command()
def build(
    tree: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            show_default=False,
            help="The program: what pip install --target DIR wherry has made.",
        ),
    ],
    key: KeyFile,
    into: Annotated[Path, typer.Option(metavar="DIR", help="Where to put the package.")] = Path(),
) -> None:
    """Pack a program and sign it."""
    from wherry.agent import packages
    from wherry.trust.keys import PrivateKey

    made = packages.build(tree, PrivateKey.from_pem(key.read_bytes()), into)
    tell(f"Made {made} for Python {packages.PYTHON}.")


@app.command()
@answers(COLUMNS)
def show(package: PackageFile, publisher: Publishers) -> Any:
    """What a package is, if one of these publishers has signed it."""
    from wherry.agent import packages
    from wherry.agent.upgrade import publishers_in

    return asdict(packages.opened(package, publishers_in(tuple(publisher))))


@app.command()
def offer(package: PackageFile, state: State) -> None:
    """Let this control plane offer a package to its agents."""
    from wherry.control.services import packages

    version = packages.put_up(_served(state), package)
    tell(f"Version {version} is offered to agents from their next heartbeat on.")


@app.command()
def withdraw(
    version: Version,
    state: State,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Offer a version no more; agents that run it go on."""
    from wherry.control.services import packages

    confirm(f"Offer version {version} no more?", yes=yes)
    packages.withdraw(_served(state), version)


@app.command("list")
@answers((("Version", "version"),))
def list_(state: State) -> Any:
    """The versions that this control plane offers."""
    from wherry.control.services import packages

    return [{"version": str(version)} for version in packages.offered(_served(state))]


def _served(state: Path) -> Path:
    if not os.path.exists(state / "deployment.json"):
        raise UsageError(f"{state} is not the state directory of a control plane.")
    return state
