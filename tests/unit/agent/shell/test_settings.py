"""Entries that set the machine and the way out of it: kept when the control plane is reached, else taken back."""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.connect_proxy import PASSWORD, USER, Far, far_away
from tests.tls_server import Answer, tls_server
from tests.unit.agent.shell.script import CTRL_C, Script
from wherry.agent.machine import service
from wherry.agent.machine.files import Files
from wherry.agent.machine.service import Service
from wherry.agent.machine.subjects import System
from wherry.agent.shell import shell, trial
from wherry.agent.shell.here import Here
from wherry.agent.shell.menus import MENUS
from wherry.agent.shell.terminal import Closed
from wherry.agent.state import AgentState
from wherry.model.way import DIRECT, Proxy, Way

CHANGED = "192.0.2.10/24"


class Programs:
    """Programs that note what they were asked for, and tell somebody."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.on_run: Callable[[tuple[str, ...]], None] = lambda _argv: None

    def has(self, program: str) -> bool:
        return True

    def run(self, *argv: str) -> None:
        self.ran.append(argv)
        self.on_run(argv)


class Machine:
    """A machine whose service answers; `etc` is the folder of its files."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.socket = folder / "helper.sock"
        self.programs = Programs()
        for name, text in {
            "etc/hostname": "old\n",
            "etc/resolv.conf": "nameserver 192.0.2.1\n",
            "lib/systemd/systemd-timesyncd": "",
        }.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def text(self, name: str) -> str:
        path = self.root / "etc" / name
        return path.read_text() if path.exists() else ""

    @property
    def addresses(self) -> str:
        return self.text("systemd/network/00-wherry-eth0.network")

    @contextmanager
    def served(self) -> Iterator[None]:
        stopping = threading.Event()
        made = Service(System(Files(self.root), self.programs), pwd.getpwuid(os.geteuid()).pw_name)

        def work() -> None:
            with service._listening(self.socket) as listener:
                ready.set()
                while not stopping.is_set():
                    made.turn(listener)

        ready = threading.Event()
        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert ready.wait(30)
            yield
        finally:
            stopping.set()
            thread.join()


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    monkeypatch.setattr(trial, "_TRY_SECONDS", 0.1)
    monkeypatch.setattr(service, "_LOOK_SECONDS", 0.02)
    made = Machine(tmp_path)
    with made.served():
        yield made


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with far_away(tmp_path / "far") as made:
        made.server.on("GET", "/healthz", Answer(200, {}))
        yield made


def typed(state: AgentState, helper: Path, entries: tuple[str, str], *lines: str) -> str:
    """What is shown when an entry of a menu is chosen and these lines are typed."""
    menu, does = entries
    number = str(1 + next(at for at, one in enumerate(MENUS[menu].entries) if one.does == does))
    script = Script([number, *lines])
    with suppress(Closed):
        shell.run(Here(script, state, helper=helper), menu)
    for secret in script.secrets:
        assert secret not in script.text
    return script.text


HOST_NAME, ZONE, SERVERS = (("system", one) for one in ("host_name", "time_zone", "time_servers"))
ADDRESSES, DNS, PROXY, AUTHORITIES = (
    ("update_network", one) for one in ("addresses", "name_servers", "proxy", "authorities")
)
STATIC = "eth0", "static", CHANGED, "192.0.2.1"


@pytest.mark.parametrize("entry", [HOST_NAME, ZONE, SERVERS, ADDRESSES, DNS])
def test_without_the_service_it_is_said_what_to_start(
    state: AgentState, tmp_path: Path, entry: tuple[str, str]
) -> None:
    shown = typed(state, tmp_path / "none.sock", entry)
    assert "systemctl start wherry-helper" in shown


def test_name_and_time_of_the_machine_are_asked_until_they_make_sense(
    state: AgentState, machine: Machine
) -> None:
    shown = typed(state, machine.socket, HOST_NAME, "a b", "mover-7", "y")
    assert "A host name has letters" in shown
    assert machine.text("hostname") == "mover-7\n"
    shown = typed(state, machine.socket, ZONE, "Mars", "Europe/Berlin", "y")
    assert "There is no such time zone" in shown
    assert str((machine.root / "etc/localtime").readlink()) == "/usr/share/zoneinfo/Europe/Berlin"
    typed(state, machine.socket, SERVERS, "ntp.example, 192.0.2.9", "y")
    assert "NTP=ntp.example 192.0.2.9\n" in machine.text("systemd/timesyncd.conf.d/90-wherry.conf")
    typed(state, machine.socket, SERVERS, "none", "y")
    assert machine.text("systemd/timesyncd.conf.d/90-wherry.conf") == ""
    typed(state, machine.socket, DNS, "here", "192.0.2.53", "y")
    assert "nameserver 192.0.2.53\n" in machine.text("resolv.conf")


@pytest.mark.parametrize("answer", ["n", "", CTRL_C])
def test_what_nobody_agrees_to_is_taken_back(state: AgentState, machine: Machine, answer: str) -> None:
    shown = typed(state, machine.socket, HOST_NAME, "mover-7", answer)
    assert "Without an answer it is taken back in 90 seconds" in shown
    assert machine.text("hostname") == "old\n"
    assert machine.programs.ran == [("hostname", "mover-7"), ("hostname", "old")]


def test_a_session_that_ends_before_the_answer_leaves_nothing(state: AgentState, machine: Machine) -> None:
    typed(state, machine.socket, HOST_NAME, "mover-7")
    assert machine.text("hostname") == "old\n"


def test_addresses_by_which_the_control_plane_is_reached_are_kept(
    state: AgentState, machine: Machine, far: Far
) -> None:
    state.trust_server(far.server.url, far.server.ca.certificate)
    state.keep_way(far.way())
    shown = typed(
        state,
        machine.socket,
        ADDRESSES,
        "eth7",
        "eth0",
        "perhaps",
        "static",
        "192.0.2.10",
        CHANGED,
        "192.0.2.1",
    )
    assert "There is no such interface." in shown
    assert "Type dhcp or static." in shown
    assert "'192.0.2.10' is no address with its prefix" in shown
    assert "Done. The control plane is reached as before." in shown
    assert f"Address={CHANGED}\nGateway=192.0.2.1\n" in machine.addresses


def test_addresses_that_lose_the_control_plane_are_taken_back(
    state: AgentState, machine: Machine, far: Far
) -> None:
    state.trust_server(far.server.url, far.server.ca.certificate)
    state.keep_way(far.way())

    def lose(argv: tuple[str, ...]) -> None:
        if CHANGED in argv:
            far.proxy.closed_to.add(far.there)

    machine.programs.on_run = lose
    shown = typed(state, machine.socket, ADDRESSES, *STATIC)
    assert "The control plane was not reached any more. The setting is taken back" in shown
    assert machine.addresses == ""


def test_a_proxy_is_kept_once_the_control_plane_was_reached_by_it(state: AgentState, far: Far) -> None:
    state.trust_server(far.server.url, far.server.ca.certificate)
    asked = f"http://127.0.0.1:{far.proxy.port}", USER
    shown = typed(state, Path(), PROXY, *asked, "wrong", "none", "n")
    assert "The control plane is not reached so. proxy: " in shown
    assert "407" in shown
    assert "Nothing is changed." in shown
    assert state.way() == DIRECT
    shown = typed(state, Path(), PROXY, "https://x", *asked, PASSWORD, "inside.example 10.0.0.0/8")
    assert "A proxy is spoken to by http" in shown
    assert "Done. The control plane is reached" in shown
    kept = Way(Proxy("127.0.0.1", far.proxy.port, USER, PASSWORD, ("inside.example", "10.0.0.0/8")))
    assert state.way() == kept
    shown = typed(state, Path(), PROXY, "none")
    assert f"user {USER}, with a password, not for inside.example 10.0.0.0/8" in shown
    assert "Nothing is changed." in shown
    assert state.way() == kept


def test_before_a_control_plane_is_set_a_proxy_is_kept_as_it_is(state: AgentState) -> None:
    shown = typed(state, Path(), PROXY, "http://proxy.example:3128", "", "none")
    assert "Kept. It is tested as soon as a control plane is set." in shown
    assert state.way() == Way(Proxy("proxy.example", 3128))
    typed(state, Path(), PROXY, "none")
    assert state.way() == DIRECT


def test_authorities_are_pasted_compared_and_tried(state: AgentState, tmp_path: Path) -> None:
    with tls_server(tmp_path / "one") as pinned, tls_server(tmp_path / "two") as other:
        other.on("GET", "/healthz", Answer(200, {}))
        state.trust_server(other.url, pinned.ca.certificate)
        pem = other.ca.certificate.decode()
        shown = typed(state, Path(), AUTHORITIES, "hello", "")
        assert "That is no certificate that can be read" in shown
        shown = typed(state, Path(), AUTHORITIES, *pem.splitlines(), "", "n")
        assert "SHA-256 " in shown
        assert state.way() == DIRECT
        wrong = pinned.ca.certificate.decode()
        shown = typed(state, Path(), AUTHORITIES, *wrong.splitlines(), "", "y", "n")
        assert "Nothing is changed." in shown
        shown = typed(state, Path(), AUTHORITIES, "CN=other", *pem.splitlines(), "", "y")
        assert "Done. The control plane is reached" in shown
        assert state.way() == Way(ca_pem=pem)
        shown = typed(state, Path(), AUTHORITIES, "none", "n")
        assert "trusted besides: 1." in shown
        assert state.way() == Way(ca_pem=pem)
