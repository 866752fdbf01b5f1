"""The admin shell over SSH, by OpenSSH's own client: who comes in, what works, and all that is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.talk import Talk, on_terminal
from wherry.agent import bundle
from wherry.agent.admin_password import AdminPassword
from wherry.agent.shell import ssh
from wherry.agent.shell.host_key import fingerprint
from wherry.agent.shell.menus import MENUS
from wherry.agent.state import AgentState

LEAVE = f"{len(MENUS['main'].entries)}\n"
GOOD = "carry the boat over 7"
OPTIONS = ("NumberOfPasswordPrompts=1", "PubkeyAuthentication=no", "LogLevel=ERROR", "ConnectTimeout=20")

pytestmark = pytest.mark.skipif(
    shutil.which("ssh") is None and not os.environ.get("CI"), reason="needs OpenSSH's client"
)


@dataclass
class Door:
    """An agent whose shell is served, and a client that knows its host key."""

    folder: Path
    state: AgentState = field(init=False)
    service: ssh.SshService = field(init=False)
    idle: float = 60.0

    def __post_init__(self) -> None:
        self.state = AgentState(self.folder / "agent")
        self.service = ssh.SshService(self.state, ("127.0.0.1", 0), self.idle)
        key = keygen("-y", self.state)
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.service.port} {key}")
        # Asked for by `ssh` instead of a terminal, so that the terminal is the session's alone.
        (self.folder / "ask").write_text('#!/bin/sh\nprintf "%s\\n" "$PASSWORD"\n')
        (self.folder / "ask").chmod(0o700)

    def options(self) -> list[str]:
        known = [
            f"UserKnownHostsFile={self.folder / 'known'}",
            "GlobalKnownHostsFile=none",
            "StrictHostKeyChecking=yes",
        ]
        return [word for option in (*OPTIONS, *known) for word in ("-o", option)]

    def environment(self, password: str) -> dict[str, str]:
        asked = {
            "SSH_ASKPASS": str(self.folder / "ask"),
            "SSH_ASKPASS_REQUIRE": "force",
            "PASSWORD": password,
        }
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TERM": "xterm", **asked}

    def ssh(
        self,
        *words: str,
        typed: str = "",
        password: str = GOOD,
        user: str = "admin",
        options: tuple[str, ...] = (),
    ) -> subprocess.CompletedProcess[str]:
        """One connection, to its end."""
        command = [
            "ssh",
            *self.options(),
            *options,
            "-p",
            str(self.service.port),
            f"{user}@127.0.0.1",
            *words,
        ]
        return run(command, self.environment(password), input=typed)

    @contextmanager
    def talk(self, password: str = GOOD, code: int = 0, more: tuple[str, ...] = ()) -> Iterator[Talk]:
        """A session with a terminal, while the block runs."""
        command = [*self.options(), *more, "-p", str(self.service.port), "admin@127.0.0.1"]
        with on_terminal([str(shutil.which("ssh")), *command], self.environment(password), code) as talk:
            yield talk

    def sftp(self, batch: str, password: str = GOOD) -> subprocess.CompletedProcess[str]:
        """Commands of `sftp`, all of them whatever comes of each."""
        (self.folder / "batch").write_text("".join(f"-{line}\n" for line in batch.splitlines()))
        command = ["sftp", *self.options(), "-o", "BatchMode=no", "-b", str(self.folder / "batch")]
        command += ["-P", str(self.service.port), "admin@127.0.0.1"]
        return run(command, self.environment(password), cwd=self.folder)


def run(command: list[str], environment: dict[str, str], **more: Any) -> subprocess.CompletedProcess[str]:
    """A client, to its end."""
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False, **more
    )


def keygen(what: str, state: AgentState) -> str:
    """What `ssh-keygen` says of an agent's host key."""
    command = ["ssh-keygen", what, "-f", str(state.directory / "ssh_host_key")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Door]:
    """An agent on its first day."""
    made = Door(tmp_path)
    yield made
    made.service.close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """An agent whose password was changed."""
    made = Door(tmp_path_factory.mktemp("door"))
    AdminPassword(made.state.directory).change(GOOD)
    yield made
    made.service.close()


@pytest.fixture(autouse=True)
def patient(door: Door) -> None:
    """Wrong passwords of one test are not another's."""
    door.service._guesses._wrong.clear()


def test_attack_45_the_default_password_opens_only_the_dialogue_that_changes_it(new: Door) -> None:
    for words in ((), ("status --json",)):
        left = new.ssh(*words, typed="1\n1\n", password="admin")
        assert "xdmsh>" not in left.stdout
        assert "daemon" not in left.stdout
    assert new.sftp("ls", password="admin").returncode != 0

    changed = new.ssh(typed=f"{GOOD}\n{GOOD}\n\n", password="admin")
    assert "This agent still has its default password." in changed.stdout
    assert "The password is changed." in changed.stdout
    assert changed.stdout.index("changed.") < changed.stdout.index("xdmsh>")
    assert new.ssh(password="admin").returncode == 255
    assert "1) System configuration" in new.ssh(typed=LEAVE).stdout


def test_the_menus_on_a_real_terminal(door: Door) -> None:
    """Lines can be edited, and what is typed for a password is neither shown nor brought back by arrow-up."""
    with door.talk() as talk:
        talk.type("xdmsh> ", "9\x7f1\r")
        talk.type("Choice: ", "2\r")
        talk.type("New password: ", "secret of mine 1\r")
        talk.type("Once more: ", "secret of mine 2\r")
        talk.type("New password: ", "\x1b[A\x1b[A\x03")
        talk.type("Stopped", "\x1b[A\x1b[A")
        talk.type("Choice: ", "\x15")
        talk.type("", f"{len(MENUS['system'].entries)}\r")
        talk.type("xdmsh> ", "\x04")
    shown = talk.shown
    assert "Show system configuration" in shown
    assert "These were two different ones." in shown
    assert "secret of mine" not in shown


def test_status_is_the_only_command(door: Door) -> None:
    asked = door.ssh("status --json")
    assert (asked.returncode, '"daemon": "stopped"' in asked.stdout) == (0, True)


@pytest.mark.parametrize(
    "command",
    [
        "id",
        "sh",
        "status",
        "status --json; id",
        "status --json\nid",
        "$(id)",
        "`id`",
        "xdmsh",
        "scp -f x",
        "/bin/sh -i",
    ],
)
@pytest.mark.parametrize("terminal", [(), ("-tt",)])
def test_attack_45_no_other_command_is_run(door: Door, command: str, terminal: tuple[str, ...]) -> None:
    refused = door.ssh(command, options=terminal)
    assert refused.returncode == 1
    assert "Only the shell is served here" in refused.stdout + refused.stderr
    assert "uid=" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    "escape", ["1; id", "$(id)", "`id`", "!id", "|id", "\x1b:!id", "../../bin/sh", "%s%n", "~C"]
)
def test_attack_45_what_is_typed_is_a_number_or_nothing(door: Door, escape: str) -> None:
    shown = door.ssh(typed=f"{escape}\n" + LEAVE).stdout
    assert "uid=" not in shown
    assert "Type a number from 1 to" in shown


@pytest.mark.parametrize(
    "options",
    [("-W", "127.0.0.1:22"), ("-N", "-R", "0:127.0.0.1:22", "-o", "ExitOnForwardFailure=yes")],
    ids=["through it", "back to us"],
)
def test_attack_45_nothing_is_forwarded(door: Door, options: tuple[str, ...]) -> None:
    refused = door.ssh(options=options)
    assert refused.returncode == 255
    assert "forwarding failed" in refused.stderr


def test_attack_45_nor_an_agent_nor_an_environment(door: Door) -> None:
    """`LD_PRELOAD` and the like are data that nobody looks at."""
    before = dict(os.environ)
    options = ("-A", "-X", "-o", "SetEnv=LD_PRELOAD=evil.so PYTHONPATH=evil", "-o", "ForwardX11Trusted=yes")
    assert door.ssh(typed=LEAVE, options=options).returncode == 0
    assert dict(os.environ) == before


def test_attack_45_other_subsystems_are_refused(door: Door) -> None:
    refused = door.ssh("netconf", options=("-s",))
    assert refused.returncode == 1


@pytest.mark.parametrize("user", ["root", "Admin", "admin2", "nobody"])
def test_attack_45_there_is_one_user(door: Door, user: str) -> None:
    assert door.ssh(user=user).returncode == 255


def test_attack_45_wrong_passwords_are_answered_later_and_later(door: Door) -> None:
    now = [0.0]
    door.service._guesses.clock = lambda: now[0]
    try:
        for _ in range(5):
            assert door.ssh(password="wrong").returncode == 255
        assert door.ssh(typed=LEAVE).returncode == 255, "the right one is not even looked at"
        now[0] += 1.0
        assert door.ssh(password="wrong").returncode == 255
        now[0] += 1.9
        assert door.ssh(typed=LEAVE).returncode == 255
        now[0] += 0.2
        assert door.ssh(typed=LEAVE).returncode == 0
        assert door.ssh(password="wrong").returncode == 255
        assert door.ssh(typed=LEAVE).returncode == 0, "a right one begins anew"
    finally:
        door.service._guesses.clock = time.monotonic


def test_bundles_can_be_fetched_and_nothing_else_be_done(door: Door) -> None:
    place = bundle.folder(door.state)
    (place / "bundle").write_bytes(b"told")
    (place / "out").symlink_to(door.state.directory / "admin.json")
    (door.folder / "mine").write_bytes(b"mine")
    refused = door.sftp(
        "get bundle got\nput mine\nput mine bundle\nrm bundle\nmkdir new\nrename bundle other\nchmod 777 bundle\n"
        "symlink bundle new\nln bundle new\nget ../admin.json stolen\nget /../../../etc/passwd stolen\nget out stolen"
    )
    assert (door.folder / "got").read_bytes() == b"told"
    assert not (door.folder / "stolen").exists()
    assert sorted(path.name for path in place.iterdir()) == ["bundle", "out"]
    assert (place / "bundle").read_bytes() == b"told"
    assert refused.stderr.lower().count("permission denied") >= 7


def test_whoever_types_nothing_is_hung_up_on(tmp_path: Path) -> None:
    made = Door(tmp_path, idle=0.3)
    try:
        AdminPassword(made.state.directory).change(GOOD)
        read, write = os.pipe()
        with os.fdopen(read), os.fdopen(write, "w"):
            command = ["ssh", *made.options(), "-p", str(made.service.port), "admin@127.0.0.1"]
            ended = run(command, made.environment(GOOD), stdin=read)
        assert "Nothing was typed for long" in ended.stdout
    finally:
        made.service.close()


def test_who_is_there_when_the_agent_ends_is_hung_up_on(tmp_path: Path) -> None:
    made = Door(tmp_path)
    AdminPassword(made.state.directory).change(GOOD)
    with made.talk(code=255) as talk:
        talk.wait_for("xdmsh> ")
        shells = [one for one in threading.enumerate() if one.name == "shell"]
        made.service.close()
        assert shells
        for one in shells:
            one.join(20)
            assert not one.is_alive()


def test_the_host_key_stays_and_is_shown(door: Door) -> None:
    shown = door.ssh(typed="1\n1\n3\n" + LEAVE).stdout
    assert fingerprint(door.state) in shown
    listed = keygen("-l", door.state)
    assert fingerprint(door.state) in listed
