"""Addresses by systemd-networkd itself, in a network and with files of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.agents import until
from tests.namespaces import NUMBER, NamespacesMissing, inside
from wherry.agent import netlink
from wherry.agent.machine.client import MachineClient
from wherry.agent.machine.verbs import Addresses
from wherry.model.errors import UsageError

pytestmark = [pytest.mark.root, pytest.mark.long]

_NETWORKD = Path("/lib/systemd/systemd-networkd")
_NETWORK = f"10.{NUMBER // 250 % 120}.{NUMBER % 250}"
GATEWAY, FIRST, SECOND = f"{_NETWORK}.1", f"{_NETWORK}.9", f"{_NETWORK}.20"
# Folders of its own in place of the system's, and a bus and a systemd-networkd that see nothing else.
_INSIDE = """
set -e
for folder in /etc/systemd/network /run/systemd /run/dbus /var/lib/wherry-helper /usr/lib/systemd/network; do
    mkdir -p "$folder"; mount -t tmpfs tmpfs "$folder"
done
mount -o remount,ro /sys
printf '[Match]\\nName=eth0\\n\\n[Network]\\nAddress=192.0.2.77/24\\n' > /etc/systemd/network/10-netplan-eth0.network
mkdir -p /run/systemd/system /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network:systemd-network /run/systemd/netif
dbus-daemon --system --nofork --nopidfile &
while [ ! -S /run/dbus/system_bus_socket ]; do sleep 0.1; done
/lib/systemd/systemd-networkd &
while ! networkctl list >/dev/null 2>&1; do sleep 0.1; done
exec "$@"
"""


@dataclass
class Machine:
    name: str
    client: MachineClient

    def addresses(self, link: str = "eth0") -> list[str]:
        found = inside(self.name, netlink.addresses)
        return [str(one) for one in found if one.interface == link and not one.is_link_local]

    def gateways(self) -> list[str]:
        return [one.gateway for one in inside(self.name, netlink.routes) if not one.to]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    programs = ("ip", "unshare", "dbus-daemon", "networkctl")
    if os.geteuid() or not _NETWORKD.exists() or not all(shutil.which(one) for one in programs):
        missing = "This needs root, systemd-networkd and the programs ip, unshare and dbus-daemon."
        if os.environ.get("CI"):
            raise NamespacesMissing(missing)
        pytest.skip(missing)
    name, outside = f"wherry-networkd-{NUMBER}", f"wn{NUMBER}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("address", "add", f"{GATEWAY}/24", "dev", outside)
        _ip("link", "set", outside, "up")
        _ip("-n", name, "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
        _ip("-n", name, "link", "set", "eth2", "up")
        with _served(name, tmp_path / "helper.sock") as client:
            yield Machine(name, client)
    finally:
        subprocess.run(["ip", "link", "delete", outside], capture_output=True, check=False)
        _ip("netns", "delete", name)


@contextmanager
def _served(name: str, address: Path) -> Iterator[MachineClient]:
    service = [
        sys.executable,
        "-m",
        "wherry",
        "agent",
        "helper",
        "--socket",
        str(address),
        "--agent-user",
        "root",
    ]
    # Whatever is begun there ends with it.
    command = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "ip",
        "netns",
        "exec",
        name,
        "sh",
        "-c",
        _INSIDE,
        "sh",
        *service,
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: address.exists() or process.poll() is not None, 60)
            assert process.poll() is None
            yield MachineClient(address)
        finally:
            process.kill()
            process.wait()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def test_systemd_networkd_takes_our_files_and_finds_the_way_back(machine: Machine) -> None:
    assert machine.client.show()["addressesBy"] == "systemd-networkd"
    until(lambda: machine.addresses() == ["192.0.2.77/24"])
    change = machine.client.begin(Addresses("eth0", False, (f"{FIRST}/24",), (GATEWAY,)))
    assert machine.addresses() == [f"{FIRST}/24"]
    until(lambda: machine.gateways() == [GATEWAY])
    machine.client.confirm(change)
    machine.client.begin(Addresses("eth0", False, (f"{SECOND}/24",)), 2)
    until(lambda: machine.client.show()["pending"] is None)
    until(lambda: machine.addresses() == [f"{FIRST}/24"] and machine.gateways() == [GATEWAY])
    change = machine.client.begin(Addresses("eth0", dhcp=True))
    assert machine.addresses() == []
    machine.client.roll_back(change)
    until(lambda: machine.addresses() == [f"{FIRST}/24"])


def test_an_interface_that_systemd_networkd_has_not_looked_after(machine: Machine) -> None:
    change = machine.client.begin(Addresses("eth1", False, ("198.51.100.7/24",)))
    assert machine.addresses("eth1") == ["198.51.100.7/24"]
    machine.client.roll_back(change)
    until(lambda: machine.addresses("eth1") == [])
    _ip("-n", machine.name, "address", "add", "203.0.113.7/24", "dev", "eth1")
    with pytest.raises(UsageError, match="ifupdown or NetworkManager looks after it"):
        machine.client.begin(Addresses("eth1", False, ("198.51.100.7/24",)))
    assert machine.addresses("eth1") == ["203.0.113.7/24"]
