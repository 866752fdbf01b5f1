"""What a service tells systemd, on a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.agent.systemd import STUCK_SECONDS, Systemd


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.setblocking(False)
        yield line


def told(listener: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


def test_it_is_told_what_happens(listener, tmp_path):
    systemd = Systemd.named({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "8000000"})
    systemd.ready("It begins.")
    systemd.status("At work.")
    systemd.feed()
    systemd.stopping()
    assert told(listener) == [
        "READY=1\nSTATUS=It begins.",
        "STATUS=At work.",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=It gives its work back.",
    ]


def test_the_watchdog_is_fed_while_the_other_thread_turns_too(listener, tmp_path):
    now = 0.0
    systemd = Systemd(str(tmp_path / "notify"), 8.0, clock=lambda: now)
    systemd.turned()
    systemd.feed()
    now = 1.0
    systemd.feed()
    assert told(listener) == ["WATCHDOG=1"]
    now = STUCK_SECONDS - 1
    systemd.feed()
    assert told(listener) == ["WATCHDOG=1"]
    now = STUCK_SECONDS + 2
    systemd.feed()
    assert told(listener) == []
    systemd.turned()
    systemd.feed()
    assert told(listener) == ["WATCHDOG=1"]


def test_threads_that_have_ended_do_not_hang(listener, tmp_path):
    now = 0.0
    systemd = Systemd(str(tmp_path / "notify"), 8.0, clock=lambda: now)
    systemd.turned()
    systemd.at_rest()
    now = 2 * STUCK_SECONDS
    systemd.feed()
    assert told(listener) == ["WATCHDOG=1"]


def test_an_abstract_socket_is_one_too():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind("")
        name = line.getsockname()
        Systemd(f"@{name[1:].decode()}").status("here")
        assert line.recv(100) == b"STATUS=here"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "x"}])
def test_nobody_who_listens_is_no_trouble(environ):
    systemd = Systemd.named(environ)
    systemd.ready("It begins.")
    systemd.feed()
    systemd.stopping()
