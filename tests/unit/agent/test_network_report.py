"""The report of a machine's network, of one that is made up and of this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.agent import clock, netlink, network_report
from wherry.agent.netlink import Address, Route
from wherry.agent.network_report import Machine
from wherry.model.way import DIRECT, Proxy, Way

FILES = {
    "sys/class/net/eth0/address": "00:1a:2b:3c:4d:5e\n",
    "sys/class/net/eth0/carrier": "1\n",
    "sys/class/net/eth0/operstate": "up\n",
    "sys/class/net/eth0/speed": "10000\n",
    "sys/class/net/eth0/mtu": "1500\n",
    "run/systemd/netif/links/2": "ADMIN_STATE=configured\nDNS=192.168.1.1 fd00::53\n",
    "etc/resolv.conf": "# stub\nnameserver 127.0.0.53\n",
    "run/systemd/resolve/resolv.conf": "nameserver 192.168.1.1\n",
    "etc/systemd/timesyncd.conf": "[Time]\n#NTP=\nFallbackNTP=ntp.example\n",
}


def machine(root: Path) -> Machine:
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(
        ((1, "lo"), (3, "eth1"), (2, "eth0")),
        (
            Address("lo", "127.0.0.1", 8, True, False),
            Address("eth0", "192.168.1.10", 24, False, False),
            Address("eth0", "fe80::1", 64, True, True),
        ),
        (Route("eth0", "", "192.168.1.1", "192.168.1.10", "dhcp", 100),),
        root,
    )


def test_the_report_has_all_that_the_originals_has(tmp_path: Path) -> None:
    way = Way(Proxy("proxy.example", 3128, "me", "over the river", ("inside.example",)), "")
    text = network_report.report(way, machine(tmp_path))
    assert text.splitlines()[:12] == [
        "Network Interface(s):",
        "eth0:",
        "  DHCP (whether a server of the network gives the address) status: true",
        "  IP Address and mask: 192.168.1.10/24, fe80::1/64",
        "  MAC Address (what the hardware is known by in its network): 00:1a:2b:3c:4d:5e",
        "  Link (whether the cable or what stands for it is connected): up",
        "  Operstate (whether the interface can carry packets): up",
        "  Speed (how fast the link is): 10Gbps",
        "  MTU (the largest packet, in bytes): 1500",
        "  DNS (whom this interface's network names for names): 192.168.1.1, fd00::53",
        "  Routes (which way packets leave):",
        "    default via 192.168.1.1 proto dhcp src 192.168.1.10 metric 100",
    ]
    assert "eth1:\n  DHCP (whether a server of the network gives the address) status: false" in text
    last = {line.partition(" (")[0].partition(":")[0]: line for line in text.splitlines()[-6:]}
    assert last["Global DNS"].endswith(": 192.168.1.1")
    assert last["Default Gateway"].endswith(": 192.168.1.1")
    assert last["Proxy"].endswith(
        ": http://proxy.example:3128, user me, with a password, not for inside.example"
    )
    assert last["Authorities"].endswith(": none")
    assert last["NTP Server(s)"].endswith(": [ntp.example]")
    assert last["Clock"].startswith("Clock: ")
    assert "over the river" not in text
    assert network_report.interfaces(machine(tmp_path)) == ["eth0", "eth1"]


def test_this_machine_can_be_told_of(tmp_path: Path) -> None:
    """Whatever it has: nothing fails, and the loopback is always there."""
    text = network_report.report(DIRECT)
    assert "Proxy (what stands between this machine and the services it needs): No proxy" in text
    assert "127.0.0.1/8" in [str(one) for one in netlink.addresses() if one.interface == "lo"]
    assert clock.state() in ("synchronized", "not synchronized", "nobody knows whether it is right")


def test_who_may_not_ask_the_kernel_asks_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_adjtimex", lambda: -1)
    assert clock.state(tmp_path) == "nobody knows whether it is right"
    folder = tmp_path / "run/systemd/timesync"
    folder.mkdir(parents=True)
    assert clock.state(tmp_path) == "not synchronized"
    (folder / "synchronized").touch()
    assert clock.state(tmp_path) == "synchronized"


def test_time_servers_are_read_as_systemd_reads_them(tmp_path: Path) -> None:
    assert clock.time_servers(tmp_path) == []
    for name, text in {
        "etc/systemd/timesyncd.conf": "[Time]\nNTP=one.example\n",
        "usr/lib/systemd/timesyncd.conf.d/50-x.conf": "[Time]\nNTP=\nNTP=two.example three.example\n",
        "etc/systemd/timesyncd.conf.d/10-wherry.conf": "[Time]\nNTP=four.example\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert clock.time_servers(tmp_path) == ["two.example", "three.example"]
