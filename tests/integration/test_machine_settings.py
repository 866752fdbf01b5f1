"""The machine's service as a process of its own, in a network and under a host name of its own."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.agents import until
from tests.namespaces import NUMBER, NamespacesMissing, inside
from tests.tls_server import Answer, tls_server
from tests.unit.agent.shell.script import Script
from wherry.agent import netlink
from wherry.agent.machine import service
from wherry.agent.machine.client import MachineClient
from wherry.agent.machine.verbs import Addresses, HostName, TimeZone
from wherry.agent.shell import shell, trial
from wherry.agent.shell.here import Here
from wherry.agent.shell.menus import MENUS
from wherry.agent.shell.terminal import Closed
from wherry.agent.state import AgentState
from wherry.model.errors import UsageError

_NETWORK = f"10.{NUMBER // 250 % 120}.{NUMBER % 250}"
HERE, OLD, NEW = (f"{_NETWORK}.{last}" for last in (65, 66, 67))
LINK = "eth0"
USER, STRANGER = "nobody", "daemon"

pytestmark = [pytest.mark.allow_hosts(["127.0.0.1", HERE]), pytest.mark.root]


@dataclass
class Machine:
    """A machine in a namespace; `plane` is what it has to reach over its only interface."""

    name: str
    root: Path
    folder: Path
    plane: socket.socket

    @property
    def client(self) -> MachineClient:
        return MachineClient(self.folder / "helper.sock")

    def addresses(self) -> list[str]:
        found = inside(self.name, netlink.addresses)
        return [str(one) for one in found if one.interface == LINK and not one.is_link_local]

    def gateways(self) -> list[str]:
        return [one.gateway for one in inside(self.name, netlink.routes) if not one.to]

    def reached_from(self) -> str:
        """The address by which the other side sees this machine; empty when it is not reached."""

        def call() -> str:
            with suppress(OSError), socket.create_connection(self.plane.getsockname(), 10) as line:
                return str(line.getsockname()[0])
            return ""

        return inside(self.name, call)

    @contextmanager
    def served(self) -> Iterator[subprocess.Popen[str]]:
        """The service, ready; killed when the block is over, unless it has ended."""
        command = [
            "unshare",
            "--uts",
            "ip",
            "netns",
            "exec",
            self.name,
            sys.executable,
            "-m",
            "wherry",
            "agent",
        ]
        command += [
            "helper",
            "--socket",
            str(self.client.socket),
            "--agent-user",
            USER,
            "--root",
            str(self.root),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            try:
                assert any(json.loads(line)["event"] == "ready" for line in process.stderr)
                # What it tells later must not fill the pipe.
                reader = threading.Thread(target=process.stderr.read)
                reader.start()
                yield process
            finally:
                process.kill()
                process.wait()
                reader.join()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() or not all(shutil.which(one) for one in ("ip", "unshare", "nsenter")):
        if os.environ.get("CI"):
            raise NamespacesMissing("Network namespaces need root and the programs ip, unshare and nsenter.")
        pytest.skip("Network namespaces need root and the programs ip, unshare and nsenter.")
    name, outside = f"wherry-machine-{NUMBER}", f"wm{NUMBER}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as refused:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"Network namespaces cannot be made here: {refused.stderr}")
    root, folder = tmp_path / "root", tmp_path / "run"
    (root / "etc").mkdir(parents=True)
    folder.mkdir()
    folder.chmod(0o755)
    try:
        _ip("link", "add", outside, "type", "veth", "peer", "name", LINK, "netns", name)
        _ip("address", "add", f"{HERE}/26", "dev", outside)
        _ip("link", "set", outside, "up")
        _ip("-n", name, "address", "add", f"{OLD}/26", "dev", LINK)
        _ip("-n", name, "link", "set", LINK, "up")
        _ip("-n", name, "route", "add", "default", "via", HERE, "metric", "7")
        with socket.create_server((HERE, 0)) as plane:
            yield Machine(name, root, folder, plane)
    finally:
        subprocess.run(["ip", "link", "delete", outside], capture_output=True, check=False)
        _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def test_addresses_are_set_and_taken_back_unless_confirmed(machine: Machine) -> None:
    # Without a gateway the other side is out of reach at once.
    elsewhere = Addresses(LINK, False, ("198.51.100.2/24",))
    with machine.served() as running:
        assert machine.reached_from() == OLD
        change = machine.client.begin(Addresses(LINK, False, (f"{NEW}/26",), (HERE,)))
        assert machine.reached_from() == NEW
        assert (machine.addresses(), machine.gateways()) == ([f"{NEW}/26"], [HERE])
        machine.client.roll_back(change)
        assert (machine.addresses(), machine.gateways()) == ([f"{OLD}/26"], [HERE])
        assert next(one.metric for one in inside(machine.name, netlink.routes) if not one.to) == 7
        machine.client.confirm(machine.client.begin(Addresses(LINK, False, (f"{NEW}/26",), (HERE,))))
        machine.client.begin(elsewhere, 2)
        until(lambda: machine.client.show()["pending"] is None)
        assert machine.reached_from() == NEW
        machine.client.begin(elsewhere, 600)
        assert machine.addresses() == ["198.51.100.2/24"]
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert machine.reached_from() == ""
    # What a crash has left is taken back, and what was confirmed stays.
    with machine.served():
        assert machine.reached_from() == NEW
        assert machine.client.show()["interfaces"] == [
            {"name": LINK, "dhcp": False, "addresses": [f"{NEW}/26"], "gateways": [HERE]}
        ]


@pytest.mark.parametrize("route", [(), ("onlink",)], ids=["by a route of its own", "by word"])
def test_a_gateway_that_lies_in_no_network_is_there_again(machine: Machine, route: tuple[str, ...]) -> None:
    _ip("-n", machine.name, "address", "flush", "dev", LINK)
    _ip("-n", machine.name, "address", "add", f"{OLD}/32", "dev", LINK)
    if not route:
        _ip("-n", machine.name, "route", "add", f"{HERE}/32", "dev", LINK)
    _ip("-n", machine.name, "route", "add", "default", "via", HERE, "dev", LINK, *route)
    with machine.served():
        change = machine.client.begin(Addresses(LINK, False, ("198.51.100.2/24",)))
        assert machine.gateways() == []
        machine.client.roll_back(change)
        assert (machine.addresses(), machine.gateways()) == ([f"{OLD}/32"], [HERE])
        assert machine.reached_from() == OLD


def test_the_shell_keeps_addresses_that_reach_the_control_plane_and_no_others(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_TRY_SECONDS", 0.1)
    state = AgentState(tmp_path / "agent")

    def typed(menu: str, does: str, *lines: str) -> str:
        number = 1 + next(at for at, one in enumerate(MENUS[menu].entries) if one.does == does)
        script = Script([str(number), *lines])
        here = Here(script, state, helper=machine.client.socket)
        with suppress(Closed):
            inside(machine.name, lambda: shell.run(here, menu))
        return script.text

    with tls_server(tmp_path / "server", (HERE,), HERE) as server, machine.served():
        server.on("GET", "/healthz", Answer(200, {}))
        state.trust_server(server.url, server.ca.certificate)
        shown = typed("update_network", "addresses", LINK, "static", "198.51.100.2/24", "none")
        assert "The control plane was not reached any more. The setting is taken back" in shown
        assert (machine.addresses(), machine.gateways()) == ([f"{OLD}/26"], [HERE])
        shown = typed("update_network", "addresses", LINK, "static", f"{NEW}/26", HERE)
        assert "Done. The control plane is reached as before." in shown
        shown = typed("network", "show_network")
        assert f"IP Address and mask: {NEW}/26" in shown
        assert f"default via {HERE} proto boot" in shown
        assert f"Address of this machine on the way to it: {NEW}" in shown


def test_host_name_and_time_zone_are_set(machine: Machine) -> None:
    ours = socket.gethostname()
    with machine.served() as running:

        def name() -> str:
            told = subprocess.run(
                ["nsenter", "-t", str(running.pid), "-u", "hostname"],
                check=True,
                capture_output=True,
                text=True,
            )
            return told.stdout.strip()

        change = machine.client.begin(HostName("mover-7"))
        assert name() == "mover-7"
        with pytest.raises(UsageError, match="Another change waits"):
            machine.client.begin(TimeZone("Europe/Berlin"))
        machine.client.confirm(change)
        machine.client.confirm(machine.client.begin(TimeZone("Europe/Berlin")))
        assert str((machine.root / "etc/localtime").readlink()).endswith("/Europe/Berlin")
        told = machine.client.show()
        assert (told["hostName"], told["pending"], told["addressesBy"]) == ("mover-7", None, "iproute2")
        machine.client.begin(HostName("mover-8"), 2)
        until(lambda: machine.client.show()["pending"] is None)
        assert name() == "mover-7"
        running.terminate()
        assert running.wait() == 0
        assert not machine.client.socket.exists()
    assert socket.gethostname() == ours


_ASK = 'my $s = IO::Socket::UNIX->new(Peer => "helper.sock") or die; print $s "{\\"verb\\":\\"show\\"}\\n"; print <$s>'


def test_attack_45_nobody_but_root_and_the_agent_is_answered(machine: Machine) -> None:
    with machine.served():

        def asked(user: str) -> str:
            return subprocess.run(
                ["perl", "-MIO::Socket::UNIX", "-e", _ASK],
                cwd=machine.folder,
                user=pwd.getpwnam(user).pw_uid,
                check=False,
                capture_output=True,
                text=True,
            ).stdout

        assert json.loads(asked(USER))["ok"] is True
        assert asked(STRANGER) == ""
        for line in (b"{}\n", b'{"verb":"run","argv":["id"]}\n', b"x" * 100_000 + b"\n", b"\n"):
            with socket.socket(socket.AF_UNIX) as door:
                door.connect(str(machine.client.socket))
                with suppress(BrokenPipeError):
                    door.sendall(line)
                with suppress(ConnectionResetError):
                    assert b'"ok":true' not in door.recv(4096)
        begun = time.monotonic()
        assert machine.client.show()["pending"] is None
        assert time.monotonic() - begun < 20


def test_a_second_service_does_not_take_the_place_of_the_first(machine: Machine) -> None:
    with machine.served():
        with pytest.raises(UsageError, match="Another process listens"):
            service.serve(service.Options(machine.client.socket, USER, machine.root))
        assert machine.client.show()["pending"] is None


def test_without_the_service_it_is_said_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="systemctl start wherry-helper"):
        MachineClient(tmp_path / "none.sock").show()
