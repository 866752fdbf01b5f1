"""Addresses of interfaces: the files of systemd-networkd that are ours, and the same by `ip` where it does not run.

Without systemd-networkd the file is still what is remembered: the service applies it at its start.  Called by
`subjects`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from wherry.agent import netlink
from wherry.agent.machine.commands import CommandFailed, Commands
from wherry.agent.machine.files import Files
from wherry.agent.machine.verbs import Addresses
from wherry.model.errors import UsageError

_FOLDER = "/etc/systemd/network"
_CHANGE_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_LINKS = "/run/systemd/netif/links"
_OURS = re.compile(r"00-wherry-(.+)\.network")


def file_of(interface: str) -> str:
    """The file that is ours for an interface.

    The first file by name that matches an interface is its only one: ours sorts before those of netplan, cloud-init and
    installers, which begin with 10 and more.
    """
    return f"{_FOLDER}/00-wherry-{interface}.network"


def check(files: Files, setting: Addresses, *, has_networkd: bool) -> None:
    """Raises `UsageError` when this machine cannot be set so."""
    name = setting.interface
    if name not in {known for _, known in socket.if_nameindex()}:
        raise UsageError(f"This machine has no interface {name}.")
    if setting.dhcp and not has_networkd:
        raise UsageError(
            "DHCP needs systemd-networkd, which does not run here: systemctl enable --now systemd-networkd."
        )
    if has_networkd and not is_managed(files, name) and live(name)["addresses"]:
        raise UsageError(
            f"{name} has addresses that systemd-networkd, which runs here, has not given it: something else such as "
            f"ifupdown or NetworkManager looks after it. Set them there, or take {name} from it first."
        )


def is_managed(files: Files, interface: str) -> bool:
    """Whether systemd-networkd, where it runs, looks after this interface too."""
    numbers = {name: number for number, name in socket.if_nameindex()}
    state = files.text(f"{_LINKS}/{numbers.get(interface, 0)}")
    return "ADMIN_STATE=unmanaged" not in state.splitlines()


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
    for path in sorted(files.path(_FOLDER).glob("00-wherry-*.network")):
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
            {"to": one.to, "gateway": one.gateway, "metric": one.metric, "onlink": one.is_on_link}
            for one in netlink.routes()
            if one.interface == interface and not one.is_made_by_kernel
        ],
    }


def await_change(setting: Addresses) -> None:
    """Wait until an interface has its new addresses: what is tested earlier may still go by the old ones.

    Raises `CommandFailed` when those that were named do not come.  What DHCP gives may come later: whether all is well
    then is for others to judge.
    """
    until = time.monotonic() + _CHANGE_SECONDS
    while not _has(setting):
        if time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        elif setting.dhcp:
            return
        else:
            name = setting.interface
            raise CommandFailed(
                f"systemd-networkd has not given {name} these addresses within {_CHANGE_SECONDS:.0f} s. "
                f"See whether its cable is in, and what this says: networkctl status {name}."
            )


def _has(setting: Addresses) -> bool:
    found = [one for one in netlink.addresses() if one.interface == setting.interface]
    if setting.dhcp:
        return any(not one.fixed and not one.is_link_local for one in found)
    told = {ipaddress.ip_interface(str(one)) for one in found}
    wanted = {ipaddress.ip_interface(one) for one in setting.addresses}
    # Of IPv6 there may be more, by the announcements of routers.
    left = {one for one in told - wanted if one.version == 4 and not one.ip.is_link_local}
    return wanted <= told and not left


def apply(commands: Commands, setting: Addresses) -> None:
    """Let an interface have these addresses and gateways and no others, now."""
    if setting.dhcp:
        return
    routes = [{"to": "", "gateway": one, "metric": 0} for one in setting.gateways]
    restore(commands, setting.interface, {"addresses": setting.addresses, "routes": routes})


def restore(commands: Commands, interface: str, wanted: Mapping[str, Any]) -> None:
    """Let an interface be as `live` has seen it."""
    # All is read before anything is touched: what cannot be read must not cost what is there.
    steps = [_address(interface, one) for one in wanted["addresses"]]
    steps += [_route(interface, one) for one in sorted(wanted["routes"], key=_order)]
    commands.run("ip", "link", "set", "dev", interface, "up")
    commands.run("ip", "address", "flush", "dev", interface, "scope", "global")
    for step in steps:
        commands.run("ip", *step)


def _address(interface: str, address: str) -> tuple[str, ...]:
    # An address of IPv6 may be used at once: whoever else has it was there before the change, too.
    settled = ("nodad",) if ":" in address else ()
    return "address", "replace", address, "dev", interface, *settled


def _order(route: Mapping[str, Any]) -> tuple[bool, int]:
    """A gateway is refused as long as no other route says where it is."""
    return bool(route["gateway"]), -int(route["to"].partition("/")[2] or 0)


def _route(interface: str, route: Mapping[str, Any]) -> tuple[str, ...]:
    family = "-6" if ":" in (route["gateway"] or route["to"]) else "-4"
    way = ("via", route["gateway"]) if route["gateway"] else ()
    metric = ("metric", str(route["metric"])) if route["metric"] else ()
    on_link = ("onlink",) if route.get("onlink") else ()
    to = route["to"] or "default"
    return family, "route", "replace", to, *way, "dev", interface, *metric, *on_link
