"""Addresses of interfaces: who gives them, what becomes of those that never come, and the way back to what was."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Never

import pytest

from tests.unit.agent.machine.machines import Machine
from wherry.agent import netlink
from wherry.agent.machine import interfaces
from wherry.agent.machine.commands import CommandFailed
from wherry.agent.machine.kept import Kept
from wherry.agent.machine.service import Service
from wherry.agent.machine.verbs import Addresses
from wherry.agent.netlink import Address, Route
from wherry.model.errors import UsageError

JOURNAL = "var/lib/wherry-helper/tentative.json"
FIRST = Addresses("lo0", False, ("192.0.2.10/24",), ("192.0.2.1",))
SECOND = Addresses("lo1", False, ("198.51.100.10/24",))


class Kernel:
    """What interfaces have."""

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self.routes: list[Route] = []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo"), (2, "lo0"), (3, "lo1")])
    monkeypatch.setattr(interfaces, "_CHANGE_SECONDS", 0.0)
    monkeypatch.setattr(netlink, "addresses", lambda: kernel.addresses)
    monkeypatch.setattr(netlink, "routes", lambda: kernel.routes)
    return kernel


def test_ours_is_the_first_file_that_matches_an_interface() -> None:
    others = ["10-netplan-lo0.network", "10-cloud-init-lo0.network", "05-first.network", "70-lo0.network"]
    ours = Path(interfaces.file_of("lo0")).name
    assert min(*others, ours) == ours


@pytest.mark.parametrize("text", ["2001:DB8:0::1/64", "2001:db8::1/64", "fe80::5/64"])
def test_addresses_are_the_same_however_they_are_written(machine: Machine, kernel: Kernel, text: str) -> None:
    machine.systemd()
    kernel.addresses = [
        Address("lo0", "2001:db8::1", 64, True, False),
        Address("lo0", "fe80::5", 64, True, True),
        Address("lo0", "2001:db8::abcd", 64, False, False),
        Address("lo0", "169.254.7.7", 16, True, True),
    ]
    machine.tentative.confirm(machine.tentative.begin(Addresses("lo0", False, (text,)), 30))


def test_addresses_that_never_come_are_taken_back_and_it_is_said(machine: Machine, kernel: Kernel) -> None:
    machine.systemd()
    before = machine.picture()
    # Of another file, as one of netplan: it is not enough that there are some.
    kernel.addresses = [Address("lo0", "203.0.113.7", 24, False, False)]
    with pytest.raises(CommandFailed, match=r"has not given lo0 these.*networkctl status lo0.*is as it was"):
        machine.tentative.begin(FIRST, 30)
    kernel.addresses.append(Address("lo0", "192.0.2.10", 24, True, False))
    with pytest.raises(CommandFailed, match="has not given lo0 these"):
        machine.tentative.begin(FIRST, 30)
    assert machine.picture() == before
    # A lease may come later.
    kernel.addresses = []
    machine.tentative.begin(Addresses("lo0", dhcp=True), 30)


def test_the_way_back_says_first_where_a_gateway_is(machine: Machine, kernel: Kernel) -> None:
    kernel.addresses = [Address("lo0", "203.0.113.7", 32, True, False)]
    # As the kernel tells them: the shortest first.
    kernel.routes = [
        Route("lo0", "", "203.0.113.1", "", "static", 0),
        Route("lo0", "", "fe80::1", "", "static", 1024, is_on_link=True),
        Route("lo0", "203.0.112.0/20", "", "", "static", 0),
        Route("lo0", "203.0.113.1/32", "", "", "static", 0),
        Route("lo0", "203.0.113.0/32", "", "", "kernel", 0),
        Route("lo1", "10.0.0.0/8", "", "", "static", 0),
    ]
    machine.tentative.begin(FIRST, 30)
    machine.commands.ran.clear()
    machine.started().recover()
    assert machine.commands.ran == [
        ("ip", "link", "set", "dev", "lo0", "up"),
        ("ip", "address", "flush", "dev", "lo0", "scope", "global"),
        ("ip", "address", "replace", "203.0.113.7/32", "dev", "lo0"),
        ("ip", "-4", "route", "replace", "203.0.113.1/32", "dev", "lo0"),
        ("ip", "-4", "route", "replace", "203.0.112.0/20", "dev", "lo0"),
        ("ip", "-4", "route", "replace", "default", "via", "203.0.113.1", "dev", "lo0"),
        (
            "ip",
            "-6",
            "route",
            "replace",
            "default",
            "via",
            "fe80::1",
            "dev",
            "lo0",
            "metric",
            "1024",
            "onlink",
        ),
    ]


def test_an_interface_that_something_else_looks_after_is_refused(machine: Machine, kernel: Kernel) -> None:
    machine.systemd()
    machine.write("run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\nOPER_STATE=routable\n")
    kernel.addresses = [Address("lo0", "203.0.113.7", 24, True, False)]
    before = machine.picture()
    with pytest.raises(UsageError, match="ifupdown or NetworkManager looks after it"):
        machine.tentative.begin(FIRST, 30)
    assert (machine.picture(), machine.commands.ran) == (before, [])


def test_what_systemd_networkd_takes_over_for_a_trial_is_emptied_again(
    machine: Machine, kernel: Kernel
) -> None:
    machine.systemd()
    machine.write("run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n")
    before = machine.picture()
    change = machine.tentative.begin(Addresses("lo0", dhcp=True), 30)
    machine.write("run/systemd/netif/links/2", "ADMIN_STATE=configured\n")
    machine.tentative.roll_back(change)
    machine.write("run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n")
    assert machine.picture() == before
    assert machine.commands.ran[-4:] == [
        ("networkctl", "reload"),
        ("networkctl", "reconfigure", "lo0"),
        ("ip", "link", "set", "dev", "lo0", "up"),
        ("ip", "address", "flush", "dev", "lo0", "scope", "global"),
    ]


def test_the_way_back_is_gone_too_where_systemd_networkd_is_gone_meanwhile(
    machine: Machine, kernel: Kernel
) -> None:
    machine.systemd()
    before = machine.picture()
    kernel.addresses = [Address("lo0", "203.0.113.7", 24, True, False)]
    machine.tentative.begin(Addresses("lo0", dhcp=True), 30)
    (machine.root / "run/systemd/netif/state").unlink()
    before.pop("run/systemd/netif/state")
    machine.started().recover()
    assert machine.picture() == before
    assert machine.commands.ran[-1] == ("ip", "address", "replace", "203.0.113.7/24", "dev", "lo0")


def test_what_an_older_service_has_written_down_costs_no_addresses(machine: Machine) -> None:
    machine.write(
        JOURNAL,
        '{"change": "0123456789abcdef", "verb": "set-addresses", "files": {}, "live": {},'
        ' "arguments": {"interface": "lo0", "dhcp": true, "addresses": [], "gateways": []}}',
    )
    machine.started().recover()
    assert machine.commands.ran == []
    assert not (machine.root / JOURNAL).exists()


def test_addresses_that_were_set_are_there_again_after_a_start(machine: Machine) -> None:
    machine.tentative.confirm(machine.tentative.begin(FIRST, 30))
    machine.write("etc/systemd/network/00-wherry-lo.network", "[Network]\nAddress=10.0.0.1/8\n")
    asked = list(machine.commands.ran)
    machine.commands.ran.clear()
    kept = Kept(machine.system, lambda: machine.now)
    kept.begin()
    machine.now += 1000
    kept.turn()
    assert machine.commands.ran == asked


def test_an_interface_that_is_missing_keeps_no_other_from_its_addresses(machine: Machine) -> None:
    for setting in (FIRST, SECOND):
        machine.tentative.confirm(machine.tentative.begin(setting, 30))
    machine.commands.ran.clear()
    machine.commands.refused = "lo0"
    kept = Kept(machine.system, lambda: machine.now)
    kept.begin()
    assert machine.commands.ran[-1] == ("ip", "address", "replace", "198.51.100.10/24", "dev", "lo1")
    # It is tried again, and not by each turn; the other one is let alone.
    machine.commands.ran.clear()
    kept.turn()
    assert machine.commands.ran == []
    machine.now += 5
    kept.turn()
    assert machine.commands.ran == [("ip", "link", "set", "dev", "lo0", "up")]
    machine.now += 5
    machine.commands.refused = ""
    kept.turn()
    assert machine.commands.ran[-1][-4:] == ("via", "192.0.2.1", "dev", "lo0")
    machine.commands.ran.clear()
    machine.now += 5
    kept.turn()
    assert machine.commands.ran == []


def test_the_service_sees_to_interfaces_that_come_late(machine: Machine) -> None:
    class Nobody(socket.socket):
        """Where nobody comes, at once."""

        def accept(self) -> Never:
            raise TimeoutError

    for setting in (FIRST, SECOND):
        machine.tentative.confirm(machine.tentative.begin(setting, 30))
    machine.commands.refused = "lo0"
    service = Service(machine.system, "nobody", lambda: machine.now)
    service.begin()
    assert machine.commands.ran[-1][-1] == "lo1"
    machine.commands.refused = ""
    machine.now += 5
    with Nobody(socket.AF_UNIX) as listener:
        service.turn(listener)
    assert machine.commands.ran[-1][-1] == "lo0"


def test_an_interface_that_never_comes_is_given_up(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.tentative.confirm(machine.tentative.begin(FIRST, 30))
    machine.commands.refused = "lo0"
    kept = Kept(machine.system, lambda: machine.now)
    kept.begin()
    machine.now += 601
    kept.turn()
    assert "given up until the next start" in caplog.records[-1].message
    machine.commands.ran.clear()
    machine.now += 601
    kept.turn()
    assert machine.commands.ran == []
