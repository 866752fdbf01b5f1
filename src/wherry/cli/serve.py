"""`wherry serve`, and what is done on its machine: `env`, `device approve`."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.options import MasterKeySource, State
from wherry.cli.output import answers, tell

device = typer.Typer(no_args_is_help=True, help="Device codes, on the control plane's own machine.")


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


def serve(
    state: Annotated[
        Path, typer.Option(metavar="DIR", help="Where everything is kept; made when it is not there.")
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Port 0 takes a free one.")
    ] = "127.0.0.1:8443",
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", show_default=False, help="How others reach it: https://HOST[:PORT]."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, help="A certificate of your own, PEM.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, help="Its key, PEM.")
    ] = None,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = "info",
    break_glass: Annotated[
        Switch, typer.Option(help="Whether `wherry device approve` works on this machine.")
    ] = Switch.ON,
    device_flow_networks: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORKS",
            show_default=False,
            help="Where people may sign in by device code from: private (the default), any, none, or networks such as "
            "203.0.113.0/24, with commas between. Agents register from anywhere.",
        ),
    ] = None,
    further_hosts: Annotated[
        str | None,
        typer.Option(
            metavar="HOSTS",
            show_default=False,
            help="Names and addresses that it goes by besides its public URL, with commas between: a private one, say.",
        ),
    ] = None,
    second_factor: Annotated[
        Switch | None,
        typer.Option(
            show_default=False,
            help="Whether everybody who signs in has to prove more than a password. On, unless this or the setting "
            "second_factor says off.",
        ),
    ] = None,
    master_key: MasterKeySource = None,
) -> None:
    """Run a control plane.

    Prints a line of JSON when it accepts connections; ends on SIGTERM. The first start makes the state and tells the
    first administrator's password, once.
    """
    from wherry.control.serve import run
    from wherry.control.settings import PREFIX

    if device_flow_networks:
        # As any other setting may be told.
        os.environ[f"{PREFIX}DEVICE_FLOW_NETWORKS"] = device_flow_networks
    if further_hosts:
        os.environ[f"{PREFIX}FURTHER_HOSTS"] = further_hosts
    if second_factor:
        os.environ[f"{PREFIX}SECOND_FACTOR"] = second_factor.value
    raise typer.Exit(
        run(
            state,
            listen,
            public_url,
            tls_cert,
            tls_key,
            log_level,
            break_glass=break_glass is Switch.ON,
            master_key=master_key,
        )
    )


def env(state: State) -> None:
    """Print the variables that clients need, for a shell: eval "$(wherry env --state DIR)"."""
    from wherry.control import environment
    from wherry.trust.authority import fingerprint

    known = environment.variables(state)
    print(environment.text(state), end="")
    tell(f"# For agents: --ca-fingerprint {fingerprint(Path(known['WHERRY_CA_FILE']).read_bytes())}")


@device.command()
@answers(
    (
        ("Client", "client"),
        ("Agent", "agent"),
        ("Mover", "mover"),
        ("Words of its key", "words"),
        ("From", "source"),
        ("State", "state"),
    )
)
def approve(
    code: Annotated[str, typer.Argument(metavar="CODE", help="The code that the device shows.")], state: State
) -> Any:
    """Approve a device code as the first administrator; the audit trail tells that it was done this way."""
    from wherry.control import breakglass

    return breakglass.approve(state, code)
