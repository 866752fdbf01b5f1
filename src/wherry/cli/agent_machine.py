"""`wherry agent register|run|unregister|status|shell`: the agent of this machine.

Nobody is signed in here: an agent proves itself with the key in its state directory.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.cli.output import answers, confirm, tell
from wherry.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.agent.register import Step
    from wherry.agent.state import AgentState
    from wherry.agent.upgrade import Upgrades

State = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="WHERRY_AGENT_STATE",
        show_default=False,
        help="State directory of the agent; by default the system's place for it.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", show_default=False, help="The control plane: https://HOST[:PORT]."),
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", show_default=False, help="Its certificate authority, in PEM."),
]
CaFingerprint = Annotated[
    str | None,
    typer.Option(metavar="HEX", show_default=False, help="Or that authority's SHA-256 fingerprint."),
]
NewerMenus = Annotated[
    bool, typer.Option("--newer-menus", help="Menus of the admin shell as in newer versions of the original.")
]
COLUMNS = (
    ("State", "state"),
    ("Agent", "agentId"),
    ("Control plane", "url"),
    ("Daemon", "daemon"),
    ("Upgrade", "upgrade"),
    ("Directory", "directory"),
)


def add_to(app: typer.Typer) -> None:
    """Add these commands to those of the noun."""
    for command in (register, re_enrol, run, unregister, status, shell, check, bundle, env):
        app.command()(command)


def register(
    name: Annotated[
        str,
        typer.Option(
            "--name", "-n", "--agent-name", metavar="NAME", show_default=False, help="What to call it."
        ),
    ],
    subscription: Annotated[
        str,
        typer.Option(
            metavar="GUID",
            envvar="WHERRY_SUBSCRIPTION_ID",
            show_default=False,
            help="The mover's subscription.",
        ),
    ],
    group: Annotated[
        str,
        typer.Option(
            "--group",
            "--resource-group",
            "-g",
            metavar="NAME",
            envvar="WHERRY_GROUP",
            show_default=False,
            help="The mover's resource group.",
        ),
    ],
    mover: Annotated[
        str,
        typer.Option(
            "--mover",
            "--storage-mover-name",
            metavar="NAME",
            envvar="WHERRY_MOVER",
            show_default=False,
            help="The mover that it shall belong to.",
        ),
    ],
    url: Url = None,
    ca: CaFile = None,
    ca_fingerprint: CaFingerprint = None,
    private_link_scope: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Private link scope whose networks alone it shall use: a name in the group, or an id.",
        ),
    ] = "",
    tags: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", show_default=False, help="A tag of its machine; repeatable."),
    ] = None,
    state: State = None,
) -> None:
    """Register the agent of this machine: shows a code that a person approves on a page of the control plane."""
    from wherry.agent.register import Wanted
    from wherry.agent.register import register as steps
    from wherry.model.tags import of_pairs

    tagged = of_pairs(tags or [])
    wanted = Wanted(subscription, group, mover, name, url, ca, ca_fingerprint, private_link_scope, tagged)
    agent = opened(state)
    _register(agent, steps(agent, wanted))


def re_enrol(state: State = None) -> None:
    """Register this machine's agent again, under the same name, after it was locked or has expired."""
    from wherry.agent.register import register as steps
    from wherry.agent.register import wanted_again

    agent = opened(state)
    _register(agent, steps(agent, wanted_again(agent), again=True))


def run(
    state: State = None,
    url: Url = None,
    ca: CaFile = None,
    ca_fingerprint: CaFingerprint = None,
    allow_source: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", show_default=False, help="A folder that jobs may read; repeatable."),
    ] = None,
    allow_target: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", show_default=False, help="A folder that jobs may write; repeatable."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", min=0, show_default=False, help="Worker processes; by default one a processor."
        ),
    ] = None,
    leases: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            min=1,
            max=32,
            show_default=False,
            help="Parts of runs that it works on at once; by default one a worker.",
        ),
    ] = None,
    identity_endpoint: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            show_default=False,
            help="Give programs of this machine tokens of its identity, on this port of 127.0.0.1; off without it.",
        ),
    ] = None,
    identity_audience: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", show_default=False, help="What tokens may be for; repeatable. By default vaults."
        ),
    ] = None,
    identity_group: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP", show_default=False, help="Who may have tokens besides the agent's user."
        ),
    ] = None,
    identity_socket: Annotated[Path | None, typer.Option(hidden=True)] = None,
    identity_user: Annotated[str | None, typer.Option(hidden=True)] = None,
    publisher: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Public key of whose programs the agent may become; repeatable. Without it nobody's.",
        ),
    ] = None,
    ssh_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            show_default=False,
            help="Serve the admin shell by SSH there; off without it.",
        ),
    ] = None,
    newer_menus: NewerMenus = False,
    supervised: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Be the agent: take leases and move files, until SIGTERM.

    Not registered yet, it waits. Its log are lines of JSON on standard error.
    """
    from wherry.agent.daemon import EXIT_RESTART, Options
    from wherry.agent.daemon import run as be_agent
    from wherry.agent.identity_endpoint import AUDIENCES, IdentityOptions
    from wherry.agent.systemd import Systemd

    if identity_endpoint is None and (identity_audience or identity_group):
        raise UsageError("--identity-audience and --identity-group need --identity-endpoint PORT.")
    identity = None
    if identity_endpoint is not None:
        identity = IdentityOptions(
            identity_endpoint, tuple(identity_audience or AUDIENCES), identity_group,
            socket=identity_socket, user=identity_user,
        )  # fmt: skip
    agent = opened(state)
    upgrades = _upgrades(agent, publisher or [])
    if upgrades is not None and not supervised:
        raise typer.Exit(_supervise(agent, upgrades))
    options = Options(
        url, ca, ca_fingerprint, tuple(allow_source or ()), tuple(allow_target or ()), leases, workers,
        identity=identity, upgrades=upgrades, systemd=Systemd.named(),
    )  # fmt: skip
    if ssh_listen is not None:
        from wherry.agent.shell import menus, ssh

        address, chosen = _address(ssh_listen), menus.NEWER if newer_menus else menus.MENUS
        options = replace(
            options, admin_shell=lambda state: ssh.served(state, address, chosen), ssh_port=address[1]
        )
    code = be_agent(agent, options)
    if code == EXIT_RESTART:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - our own command line, once more
    raise typer.Exit(code)


def _address(text: str) -> tuple[str, int]:
    """A host and a port to listen at; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(f"--ssh-listen: HOST:PORT is expected, such as 0.0.0.0:2222, not '{text}'.")
    return host.strip("[]"), int(port)


def _upgrades(agent: AgentState, publishers: list[Path]) -> Upgrades | None:
    """Whose programs the agent may become; None when its owner named nobody."""
    from wherry.agent.programs import Programs
    from wherry.agent.upgrade import Upgrades, publishers_in

    return Upgrades(Programs(agent.directory), publishers_in(tuple(publishers))) if publishers else None


def _supervise(agent: AgentState, upgrades: Upgrades) -> int:
    """Stay around the agent, which this very command line starts anew in a process of its own."""
    from wherry.agent import log_lines
    from wherry.agent.supervisor import Supervisor, await_orphan

    log_lines.configure()
    with agent.alone("supervise"):
        await_orphan(agent)
        return Supervisor(upgrades.programs, sys.argv[1:]).run()


def unregister(
    state: State = None,
    local_only: Annotated[
        bool, typer.Option("--local-only", help="Wipe the identity here without telling the control plane.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give the identity of this machine's agent back, at the control plane and here."""
    from wherry.agent.unregister import unregister as steps

    agent = opened(state)
    if agent.registration() is not None:
        confirm("Unregister this agent? It can be registered anew afterwards.", yes=yes)
    follow(steps(agent, local_only=local_only))


def env(state: State = None) -> None:
    """Print the variables by which Azure's clients find the identity endpoint: eval "$(wherry agent env)"."""
    from wherry.agent.identity_endpoint import environment

    for name, value in environment(opened(state).directory).items():
        print(f"export {name}={value}")


@answers(COLUMNS)
def status(state: State = None) -> Any:
    """How the agent of this machine stands; nothing is contacted."""
    from wherry.agent.shell.status import picture

    return picture(opened(state))


def shell(
    state: State = None,
    login: Annotated[bool, typer.Option("--login", help="Ask for the admin's password first.")] = False,
    newer_menus: NewerMenus = False,
) -> None:
    """The agent's admin shell: menus to set the agent up, test it, register it and look after it."""
    from wherry.agent.shell import console, menus

    chosen = menus.NEWER if newer_menus else menus.MENUS
    raise typer.Exit(console.run(opened(state), login=login, menus=chosen))


def check(
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL", show_default=False, help="An endpoint in place of the agent's own."),
    ] = None,
    state: State = None,
) -> None:
    """Whether this machine reaches what its agent needs, step by step, as JSON; fails when it does not."""
    import json

    from wherry.agent import job_places, last_check, network_check
    from wherry.cli.exits import Exit

    agent = opened(state)
    wanted = network_check.endpoints(agent) if url is None else [network_check.endpoint(url, agent.way())]
    results = [network_check.check(one) for one in wanted]
    if url is None:
        results += job_places.checked(agent)
        last_check.keep(agent, results)
    print(json.dumps([one.to_json() for one in results], indent=2))
    if not all(one.passed for one in results):
        raise typer.Exit(Exit.UNREACHABLE)


@answers((("File", "path"), ("Bytes", "size"), ("SHA-256", "sha256"), ("Missing", "missing")))
def bundle(state: State = None) -> Any:
    """Collect a support bundle: logs and the state of this machine in one file, without secrets."""
    from wherry.agent import bundle as bundles

    made = bundles.collect(opened(state))
    return {"path": str(made.path), "size": made.size, "sha256": made.sha256, "missing": list(made.missing)}


def opened(directory: Path | None) -> AgentState:
    """The agent's state in this directory or in the system's place for it."""
    from wherry.agent.state import AgentState, default_directory

    return AgentState(directory or default_directory())


def _register(agent: AgentState, steps: Iterator[Step]) -> None:
    """Show each step, and before any is taken at the control plane what there is to mend on the way to it."""
    from wherry.agent import network_check

    for step in steps:
        follow(iter((step,)))
        for found in network_check.endpoints(agent) if step.name == "trust" else ():
            last = network_check.check(found).steps[-1]
            if not last.passed:
                tell(f"[network] The {found.what}: {last.name}: {last.seen}. {last.remedy}")
                break


def follow(steps: Iterator[Step]) -> None:
    """Show each step as it is done."""
    for step in steps:
        tell(f"[{step.name}] {step.text}")
