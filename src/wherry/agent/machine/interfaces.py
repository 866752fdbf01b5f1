"""Addresses of interfaces: the files of systemd-networkd that are ours, and the same by `ip` where it does not run.

Without systemd-networkd the file is still what is remembered: the service applies it at its start.  Called by
`subjects`.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from wherry.agent import netlink
from wherry.agent.machine.commands import Commands
from wherry.agent.machine.files import Files
from wherry.agent.machine.verbs import Addresses
from wherry.model.errors import UsageError

_FOLDER = "/etc/systemd/network"
_CHANGE_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_OURS = re.compile(r"10-wherry-(.+)\.network")


def file_of(interface: str) -> str:
    """The file that is ours for an interface."""
    return f"{_FOLDER}/10-wherry-{interface}.network"


def check(setting: Addresses, *, has_networkd: bool) -> None:
    """Raises `UsageError` when this machine cannot be set so."""
    if setting.interface not in {name for _, name in socket.if_nameindex()}:
        raise UsageError(f"This machine has no interface {setting.interface}.")
    if setting.dhcp and not has_networkd:
        raise UsageError(
            "DHCP needs systemd-networkd, which does not run here: systemctl enable --now systemd-networkd."
        )


def written(setting: Addresses) -> str:
    """What systemd-networkd reads."""
    lines = [
        "[Match]",
        f"Name={setting.interface}",
        "",
        "[Network]",
        f"DHCP={'yes' if setting.dhcp else 'no'}",
    ]
    lines += [f"Address={one}" for one in setting.addresses]
    lines += [f"Gateway={one}" for one in setting.gateways]
    return "\n".join(lines) + "\n"


def settings(files: Files) -> Iterator[Addresses]:
    """What was set before; a file that was written by somebody else in our name is passed over."""
    for path in sorted(files.path(_FOLDER).glob("10-wherry-*.network")):
        found = _OURS.fullmatch(path.name)
        text = files.text(f"{_FOLDER}/{path.name}")
        with contextlib.suppress(UsageError):
            yield Addresses(
                found[1] if found else "",
                "DHCP=yes" in text.splitlines(),
                tuple(re.findall(r"^Address=(.*)$", text, re.MULTILINE)),
                tuple(re.findall(r"^Gateway=(.*)$", text, re.MULTILINE)),
            )


def kept(files: Files) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {"name": one.interface, "dhcp": one.dhcp, "addresses": one.addresses, "gateways": one.gateways}
        for one in settings(files)
    ]


def live(interface: str) -> dict[str, Any]:
    """How an interface is now: its addresses, and the routes that do not come with them by themselves."""
    return {
        "addresses": [
            str(one) for one in netlink.addresses() if one.interface == interface and not one.is_link_local
        ],
        "routes": [
            {"to": one.to, "gateway": one.gateway, "metric": one.metric}
            for one in netlink.routes()
            if one.interface == interface and not one.is_made_by_kernel
        ],
    }


def await_change(setting: Addresses) -> None:
    """Wait until an interface has its new addresses: what is tested earlier may still go by the old ones.

    Not for ever: whether all is well is for others to judge.
    """
    until = time.monotonic() + _CHANGE_SECONDS
    while not _has(setting) and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)


def _has(setting: Addresses) -> bool:
    found = [
        one for one in netlink.addresses() if one.interface == setting.interface and not one.is_link_local
    ]
    if setting.dhcp:
        return any(not one.fixed for one in found)
    told, wanted = {str(one) for one in found}, set(setting.addresses)
    # Of IPv6 there may be more, by the announcements of routers.
    return wanted <= told and {one for one in told if ":" not in one} == {
        one for one in wanted if ":" not in one
    }


def apply(commands: Commands, setting: Addresses) -> None:
    """Let an interface have these addresses and gateways and no others, now."""
    if setting.dhcp:
        return
    routes = [{"to": "", "gateway": one, "metric": 0} for one in setting.gateways]
    restore(commands, setting.interface, {"addresses": setting.addresses, "routes": routes})


def restore(commands: Commands, interface: str, wanted: Mapping[str, Any]) -> None:
    """Let an interface be as `live` has seen it."""
    commands.run("ip", "link", "set", "dev", interface, "up")
    commands.run("ip", "address", "flush", "dev", interface, "scope", "global")
    for address in wanted["addresses"]:
        # An address of IPv6 may be used at once: whoever else has it was there before the change, too.
        settled = ("nodad",) if ":" in address else ()
        commands.run("ip", "address", "replace", address, "dev", interface, *settled)
    for route in wanted["routes"]:
        family = "-6" if ":" in (route["gateway"] or route["to"]) else "-4"
        way = ("via", route["gateway"]) if route["gateway"] else ()
        metric = ("metric", str(route["metric"])) if route["metric"] else ()
        to = route["to"] or "default"
        commands.run("ip", family, "route", "replace", to, *way, "dev", interface, *metric)
