"""What the restricted shell sees of shares, at real servers of NFS and SMB, and of mounts of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganesha import HOST, Ganesha, GaneshaMissing, running_ganesha
from tests.integration.test_agent_ssh import GOOD, Door
from tests.namespaces import NamespacesMissing
from tests.samba import CUSTOMER, Samba, SambaMissing, running_samba
from wherry.agent import bundle, onc_rpc, smb_client, trial_mount
from wherry.agent.admin_password import AdminPassword
from wherry.agent.onc_rpc import Export
from wherry.agent.shell import troubleshooting
from wherry.agent.shell.here import Here
from wherry.agent.shell.restricted import open_shell
from wherry.agent.shell.terminal import Closed
from wherry.agent.smb_client import Login
from wherry.agent.state import AgentState
from wherry.model.errors import UsageError


class Lines:
    """A terminal in which these lines are typed."""

    width = 80

    def __init__(self, *lines: str) -> None:
        self._lines = list(lines)
        self.shown: list[str] = []

    def say(self, text: str) -> None:
        self.shown.append(text)

    def ask(self, prompt: str, *, secret: bool = False) -> str:
        if not self._lines:
            raise Closed
        return self._lines.pop(0)

    def rest(self, seconds: float) -> None:
        """No time passes."""


def typed(state: AgentState, *lines: str) -> list[str]:
    """What the restricted shell showed."""
    terminal = Lines(*lines, "exit")
    open_shell(Here(terminal, state))
    return terminal.shown[1:]


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")


def listens() -> None:
    try:
        onc_rpc.exports(HOST)
    except UsageError as early:
        raise OSError(str(early)) from early


@pytest.fixture(scope="module")
def ganesha() -> Iterator[Ganesha]:
    try:
        with running_ganesha(listens) as server:
            yield server
    except (GaneshaMissing, NamespacesMissing) as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def samba() -> Iterator[Samba]:
    try:
        with running_samba() as server:
            server.put_user(CUSTOMER, GOOD)
            (server.folder / "one" / "a folder").mkdir()
            (server.folder / "one" / "a folder" / "within").write_bytes(b"12345")
            yield server
    except SambaMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


def test_showmount_tells_the_exports_of_a_real_server(ganesha: Ganesha, state: AgentState) -> None:
    some, every = (str(ganesha.folder / name) for name in ("some", "all"))
    found = ganesha.inside(lambda: onc_rpc.exports(HOST))
    assert found == [Export(some.encode(), (b"10.0.0.0/8",)), Export(every.encode(), ())]
    shown = ganesha.inside(lambda: typed(state, f"showmount -e {HOST}"))
    assert [line.split() for line in shown] == [[some, "10.0.0.0/8"], [every, "everybody"]]


def test_a_search_for_trouble_tells_every_step_and_is_in_the_bundle(
    ganesha: Ganesha, state: AgentState
) -> None:
    terminal = Lines(HOST, f"{ganesha.folder}/all")
    ganesha.inside(lambda: troubleshooting.nfs(Here(terminal, state)))
    shown = "\n".join(terminal.shown)
    for passed in (
        "Name lookup\n      127.0.0.1",
        "TCP 2049",
        f"Exports\n      {ganesha.folder}/some to 10.0.0.0/8",
    ):
        assert f"PASS  {passed}" in shown
    assert "  Trial mount\n      " in shown
    with tarfile.open(bundle.collect(state).path) as archive:
        (name,) = (one for one in archive.getnames() if one.endswith("var/log/troubleshooting.log"))
        kept = archive.extractfile(name)
        assert kept is not None
        assert f"NFS: {HOST} {ganesha.folder}/all\nPASS  Name lookup" in kept.read().decode()


def test_a_search_for_trouble_keeps_no_password(state: AgentState) -> None:
    terminal = Lines("no host;id", "localhost", "a/b", "share", "some user", GOOD)
    troubleshooting.smb(Here(terminal, state))
    assert "That is no name of a host and no address." in terminal.shown
    assert "That is no name of a share." in terminal.shown
    assert any(line.startswith("FAIL  Shares") for line in terminal.shown)
    kept = (state.directory / bundle.TROUBLE).read_text()
    assert "SMB: localhost share\nPASS  Name lookup" in kept
    assert GOOD not in kept + "".join(terminal.shown)


def test_the_agents_log_is_shown_for_people(state: AgentState) -> None:
    terminal = Lines()
    with pytest.raises(UsageError, match="has not run"):
        troubleshooting.log(Here(terminal, state))
    (state.directory / "log").mkdir()
    told = '{"time": "2026-01-01T00:00:00Z", "level": "warning", "event": "lease.lost", "message": "It ran out."}'
    (state.directory / "log" / "agent.log").write_text(f"{told}\nhalf a li\n")
    troubleshooting.log(Here(terminal, state))
    assert terminal.shown == ["2026-01-01T00:00:00Z  warning lease.lost: It ran out.", "half a li"]


def test_an_export_can_be_mounted_or_the_shell_says_what_lacks(ganesha: Ganesha, state: AgentState) -> None:
    (ganesha.folder / "all" / "there").touch()
    shown = ganesha.inside(lambda: typed(state, f"mount {HOST}:{ganesha.folder}/all"))
    if "nfs" in Path("/proc/filesystems").read_text().split():
        assert shown == ["It can be mounted. In it:", "  there", "It is unmounted again."]
    else:
        assert shown[0].startswith(("The kernel of this machine cannot mount", "The program mount.nfs"))
    assert not list((state.directory / "mounts").glob("*"))


def test_smbclient_lists_shares_and_folders(samba: Samba, state: AgentState) -> None:
    server = f"smbclient 127.0.0.1:{samba.port}"
    shown = typed(
        state,
        server,
        CUSTOMER,
        GOOD,
        f"{server} one",
        CUSTOMER,
        GOOD,
        f"{server} one a folder",
        CUSTOMER,
        GOOD,
    )
    assert [line.split()[:2] for line in shown if line.startswith("Disk")] == [
        ["Disk", "one"],
        ["Disk", "two"],
    ]
    assert any(line.split()[:3] == ["a", "folder", "D"] for line in shown)
    assert any(line.split()[:3] == ["within", "N", "5"] for line in shown)
    assert GOOD not in "".join(shown)


@pytest.mark.skipif(shutil.which("ssh") is None and not os.environ.get("CI"), reason="needs OpenSSH's client")
def test_over_ssh_the_password_for_a_share_is_not_shown(samba: Samba, tmp_path: Path) -> None:
    door = Door(tmp_path)
    try:
        AdminPassword(door.state.directory).change(GOOD)
        with door.talk() as talk:
            talk.type("xdmsh> ", "5\r")
            talk.type("restricted> ", f"smbclient 127.0.0.1:{samba.port}\r")
            talk.type("User (Enter for a guest): ", f"{CUSTOMER}\r")
            talk.type("Password: ", f"{GOOD}\r")
            talk.type("Disk      two", "\r")
            talk.type("restricted> ", "exit\r")
            talk.type("xdmsh> ", "\x04")
    finally:
        door.service.close()
    assert "Disk      one" in talk.shown
    assert GOOD not in talk.shown


@pytest.mark.parametrize(
    ("command", "login", "said"),
    [
        ("one", (CUSTOMER, "wrong"), "Check the user and the password."),
        ("three", (CUSTOMER, GOOD), "There is no such share"),
        ("one gone", (CUSTOMER, GOOD), "There is no such folder."),
        ("one", ("",), "NT_STATUS"),
    ],
)
def test_smbclient_says_what_to_do(
    samba: Samba, state: AgentState, command: str, login: tuple[str, ...], said: str
) -> None:
    assert said in typed(state, f"smbclient 127.0.0.1:{samba.port} {command}", *login)[-1]


def test_attack_45_what_is_typed_never_becomes_a_command_of_the_client(
    samba: Samba, state: AgentState
) -> None:
    proof = state.directory / "proof"
    escape = f"!touch {proof}"
    for folder in (f'"; {escape}', f"; {escape}", f"$(touch {proof})", f"`touch {proof}`", f"-c {escape}"):
        typed(state, f"smbclient 127.0.0.1:{samba.port} one {folder}", CUSTOMER, GOOD)
    with pytest.raises(UsageError, match="no path"):
        smb_client.folder("127.0.0.1", "one", f"x\n{escape}", Login(CUSTOMER, GOOD), samba.port)
    with pytest.raises(UsageError, match="control characters"):
        smb_client.shares("127.0.0.1", Login(f"{CUSTOMER}\npassword=other", GOOD), samba.port)
    assert not proof.exists()


def test_a_password_is_in_no_command_line_and_no_file_is_left(
    state: AgentState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "bin" / "smbclient"
    spy.parent.mkdir()
    spy.write_text(
        '#!/bin/sh\nfor one in "$@"; do case $one in --authentication-file=*) stat -c %a "${one#*=}"; '
        'cat "${one#*=}";; *) echo "$one";; esac; done; env\n'
    )
    spy.chmod(0o755)
    monkeypatch.setenv("TELLTALE", "of the agent's own")
    monkeypatch.setattr("wherry.agent.installed._PATH", f"{spy.parent}:/usr/bin:/bin")
    said = "\n".join(smb_client.folder("h", "s", "", Login("D\\u", GOOD)))
    assert "600\nusername=u\n" in said
    assert said.count(GOOD) == 1, "in the file, not on the command line nor in the environment"
    assert "TELLTALE" not in said
    assert not list(Path(os.environ["TMPDIR"]).glob("wherry-smb-*"))


mounting = pytest.mark.skipif(
    os.geteuid() != 0 or not trial_mount._may_mount(), reason="only root with CAP_SYS_ADMIN mounts"
)


@mounting
def test_what_is_mounted_for_a_trial_is_listed_and_gone_afterwards(state: AgentState, tmp_path: Path) -> None:
    source = tmp_path / "a source"
    (source / "folder").mkdir(parents=True)
    (source / "file").touch()
    found = trial_mount.listed(state, ["mount", "--bind", "-o", "ro", "--", str(source)])
    assert sorted(found) == ["file", "folder/"]
    assert str(state.directory) not in Path("/proc/self/mountinfo").read_text()
    assert not list((state.directory / "mounts").iterdir())
    assert (source / "file").exists()


@mounting
def test_umount_ends_what_a_trial_has_left(state: AgentState, tmp_path: Path) -> None:
    left = state.directory / "mounts" / "left over"
    left.mkdir(parents=True)
    other = tmp_path / "other"
    other.mkdir()
    for at in (left, other):
        subprocess.run(["mount", "-t", "tmpfs", "none", str(at)], check=True)
    try:
        assert typed(state, "umount", "umount") == ["Unmounted: 1.", "Nothing is mounted by a trial."]
        assert not left.exists()
        assert os.path.ismount(other), "only what is the trials' own is unmounted"
    finally:
        subprocess.run(["umount", str(other)], check=True)


def test_without_the_right_to_mount_the_shell_says_so(
    state: AgentState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_mount, "_may_mount", lambda: False)
    for source in ("server:/export", "//server/share"):
        assert "Mounting needs root with the capability CAP_SYS_ADMIN" in typed(state, f"mount {source}")[0]


@pytest.mark.parametrize(
    "line",
    [
        "mount -o remount,rw /",
        "mount -t",
        "mount --bind",
        "mount /dev/sda1",
        "mount -V:/x",
        "mount h:/x;id",
        "mount //h/-o",
        "mount //h/s/../..",
        "mount h:relative",
        "showmount -e -h",
        "showmount -a host",
        "showmount --exec host",
        "smbclient -L//host",
        "smbclient host --option=x",
        "smbclient host:0",
        "smbclient host a;id",
        "smbclient //host/share",
        "umount /",
        "umount -a",
    ],
)
def test_attack_45_options_and_places_of_this_machine_are_no_arguments(
    state: AgentState, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("wherry.agent.installed.run", never)
    if line == "mount h:/x;id":
        monkeypatch.setattr(trial_mount, "_may_mount", lambda: False)
    (said,) = typed(state, line)
    assert said.startswith(("It is: ", "That is no ", "Mounting needs root"))
