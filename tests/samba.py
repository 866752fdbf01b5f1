"""Starts Samba, a real server of SMB, on a free loopback port, with two shares and accounts that runs can be given.

The Unix accounts are ones that every Debian has and nobody uses; Samba's own database of users is the server's alone,
so nothing of this machine is changed.  Needs root, and the packages `samba` and `smbclient` (`tools/servers.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wherry.control.broker import samba_host

CUSTOMER = "backup"
ACCOUNTS = {"one": {"write": ["games", "lp"], "read": ["uucp"]}, "two": {"write": ["news"], "read": []}}
PROGRAMS = ("smbd", "smbclient", "pdbedit", "smbpasswd", "smbcontrol", "smbstatus")
START_LIMIT = 60.0
_GLOBAL = {
    "server role": "standalone server", "bind interfaces only": "yes", "interfaces": "127.0.0.1",
    "disable netbios": "yes", "load printers": "no", "printcap name": "/dev/null", "disable spoolss": "yes",
    "passdb backend": "tdbsam", "map to guest": "never", "server min protocol": "SMB3",
}  # fmt: skip
_FOLDERS = (
    "private dir",
    "lock directory",
    "state directory",
    "cache directory",
    "pid directory",
    "ncalrpc dir",
)


class SambaMissing(Exception):
    """Samba is not installed, or this is not root."""


@dataclass(frozen=True)
class Samba:
    """A running server; `command` is how a driver reaches it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    command: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        config = self.folder / "host.json"
        config.write_text(json.dumps({"smb_conf": str(self.folder / "smb.conf"), "accounts": ACCOUNTS}))
        object.__setattr__(self, "command", (sys.executable, "-I", samba_host.__file__, str(config)))

    def client(self, user: str, password: str, share: str) -> list[str]:
        """The command of a client; the password is in a file of its own."""
        secret = self.folder / f"{user}.login"
        secret.write_text(f"username={user}\npassword={password}\n")
        return [
            "smbclient", f"--configfile={self.folder / 'smb.conf'}", f"--port={self.port}",
            f"--authentication-file={secret}", f"//127.0.0.1/{share}",
        ]  # fmt: skip

    def do(self, user: str, password: str, share: str, deed: str) -> tuple[bool, str]:
        """Whether a client's command went well, and what it said."""
        done = subprocess.run(
            [*self.client(user, password, share), "-c", deed], capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        return done.returncode == 0 and "NT_STATUS" not in said, said

    def put_user(self, user: str, password: str) -> None:
        """An account with a password, as a customer's server has them."""
        subprocess.run(
            ["pdbedit", "-s", str(self.folder / "smb.conf"), "-a", "-t", "-u", user],
            input=f"{password}\n{password}\n", text=True, capture_output=True, check=True,
        )  # fmt: skip

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running_samba() -> Iterator[Samba]:
    """A server for a `with` statement; `SambaMissing` says what lacks."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        raise SambaMissing(f"Samba's tests need root and the packages samba and smbclient ({missing})")
    # Not in a test's own folder, whose path is too long for the sockets in it.
    with tempfile.TemporaryDirectory(prefix="smb-", ignore_cleanup_errors=True) as name, held_port() as port:
        folder = Path(name)
        (folder / "smb.conf").write_text(configuration(folder, port))
        config = f"--configfile={folder / 'smb.conf'}"
        process = subprocess.Popen(
            ["smbd", config, "--foreground", "--no-process-group", f"--log-basename={folder}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            # At its end it ends all of its process group.
            start_new_session=True,
            # Its users go there to ask for the shares; our own is closed to them.
            env=os.environ | {"TMPDIR": "/tmp"},
        )  # fmt: skip
        server = Samba(folder, port, process)
        try:
            wait_until_listening(server)
            yield server
        finally:
            server.close()


def configuration(folder: Path, port: int) -> str:
    """What smbd reads; everything that it writes lies in one folder."""
    lines = ["[global]", f"smb ports = {port}", f"log file = {folder}/log"]
    lines += [f"{name} = {value}" for name, value in _GLOBAL.items()]
    lines += [f"{name} = {folder}/{name.replace(' ', '-')}" for name in _FOLDERS]
    for name in _FOLDERS:
        (folder / name.replace(" ", "-")).mkdir(mode=0o755)
    for share, accounts in ACCOUNTS.items():
        (folder / share).mkdir()
        everybody = ", ".join([CUSTOMER, *accounts["write"], *accounts["read"]])
        lines += [
            f"[{share}]", f"path = {folder / share}", f"valid users = {everybody}", "force user = root",
            "read only = yes", f"write list = {', '.join([CUSTOMER, *accounts['write']])}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


@contextmanager
def held_port() -> Iterator[int]:
    """A port that a server which names it can listen on while the block runs, and that nobody else is given."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def wait_until_listening(server: Samba) -> None:
    deadline = time.monotonic() + START_LIMIT
    while server.process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("smbd did not start")
