"""Ways out of the shell over SSH that OpenSSH offers: tunnels of each kind, keys, terminals, sessions from before."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.test_agent_ssh import GOOD, LEAVE, Door, door, new, patient
from wherry.agent import bundle
from wherry.agent.shell.ssh import Guesses

__all__ = ["door", "new", "patient"]

pytestmark = pytest.mark.skipif(
    shutil.which("ssh") is None and not os.environ.get("CI"), reason="needs OpenSSH's client"
)


@contextmanager
def listening() -> Iterator[tuple[int, list[str]]]:
    """A service beside the agent that nobody may reach through it; who came."""
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as service:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    line, where = service.accept()
                    came.append(str(where))
                    line.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield service.getsockname()[1], came
        finally:
            service.shutdown(socket.SHUT_RDWR)
            thread.join(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def said(port: int, words: bytes = b"") -> bytes:
    """What comes back through a tunnel before it is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(words)
        found = b""
        with suppress(ConnectionResetError):
            while piece := line.recv(100):
                found += piece
        return found


def test_attack_45_no_tunnel_of_any_kind_opens_while_a_session_lives(door: Door) -> None:
    with listening() as (port, came):
        local, dynamic, unix = free_port(), free_port(), free_port()
        tunnels = (
            "-L", f"{local}:127.0.0.1:{port}", "-D", str(dynamic), "-L", f"{unix}:/run/dbus/system_bus_socket",
        )  # fmt: skip
        with door.talk(more=tunnels) as talk:
            talk.wait_for("xdmsh> ")
            assert said(local) == b""
            assert said(unix) == b""
            # SOCKS 5: no authentication, then a connection to that port.
            asked = b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")
            answer = said(dynamic, asked)
            assert answer[:2] == b"\x05\x00"
            assert answer[2:4] != b"\x05\x00"
            talk.type("", LEAVE)
        assert came == []


def test_attack_45_no_socket_is_opened_on_its_machine(door: Door, tmp_path: Path) -> None:
    place = tmp_path / "socket"
    options = ("-N", "-R", f"{place}:127.0.0.1:22", "-o", "ExitOnForwardFailure=yes")
    refused = door.ssh(options=options)
    assert refused.returncode == 255
    assert "forwarding failed" in refused.stderr
    assert not place.exists()


@pytest.mark.parametrize("method", ["publickey", "none", "hostbased", "gssapi-with-mic"])
def test_attack_45_nobody_comes_in_but_by_the_password(door: Door, tmp_path: Path, method: str) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    for home in (door.folder, door.state.directory):
        (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
        shutil.copy(key.with_suffix(".pub"), home / ".ssh" / "authorized_keys")
    options = ("-i", str(key), "-o", "PubkeyAuthentication=yes", "-o", f"PreferredAuthentications={method}")
    refused = door.ssh(typed=LEAVE, options=options)
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr
    assert "xdmsh>" not in refused.stdout


def test_attack_45_a_session_by_the_default_password_changes_no_password_that_was_set_since(
    new: Door,
) -> None:
    with new.talk(password="admin") as old:
        old.wait_for("New password: ")
        assert "xdmsh>" in new.ssh(typed=f"{GOOD}\n{GOOD}\n{LEAVE}", password="admin").stdout
        old.type("", "the one of somebody else 9\r")
        old.type("Once more: ", "the one of somebody else 9\r")
        old.wait_for("Somebody has changed the default password meanwhile.")
    assert "xdmsh>" not in old.shown
    assert new.ssh(password="the one of somebody else 9").returncode == 255
    assert "xdmsh>" in new.ssh(typed=LEAVE).stdout


def test_attack_45_nothing_that_is_long_is_paged(door: Door) -> None:
    """A pager has commands of its own; on the smallest terminal there is none, either."""
    with door.talk() as talk:
        talk.resize(2, 20)
        talk.type("xdmsh> ", "?\r")
        talk.type("xdmsh> ", "5\r")
        talk.type("restricted> ", "help\r")
        talk.type("restricted> ", "!id\r")
        talk.type("restricted> ", "exit\r")
        talk.type("xdmsh> ", LEAVE.replace("\n", "\r"))
    assert "More" not in talk.shown
    assert "uid=" not in talk.shown


def test_attack_45_a_link_among_the_bundles_tells_nothing_of_what_it_leads_to(door: Door) -> None:
    place = bundle.folder(door.state)
    (place / "link").symlink_to("/etc/passwd")
    (place / "folder").symlink_to("/etc")
    try:
        told = door.sftp(
            "get link stolen\nls folder\ncd folder\nget folder/passwd stolen\nls -l link\nls /..\nls ../..\nput known x"
        )
    finally:
        (place / "link").unlink()
        (place / "folder").unlink()
    assert not (door.folder / "stolen").exists()
    assert not (place / "x").exists()
    for secret in ("hostname", "shadow", "admin.json", "key.pem", "root:"):
        assert secret not in told.stdout + told.stderr


def test_attack_45_whoever_guesses_from_a_whole_network_waits_as_one() -> None:
    guesses = Guesses(lambda: 0.0)
    for number in range(5):
        guesses.note(f"2001:db8:1:2::{number:x}", right=False)
    assert guesses.must_wait("2001:db8:1:2:ffff::9")
    assert not guesses.must_wait("2001:db8:1:3::1")
    for number in range(5):
        guesses.note(f"192.0.2.{number}", right=False)
    assert not guesses.must_wait("192.0.2.0")
