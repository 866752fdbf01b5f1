"""Whether this machine can mount an export or a share: mounted read-only, listed, unmounted again.

By `mount` of the system with a fixed command line, in a folder of the agent's own that nobody else may enter.  What an
answer that never comes has left mounted is found there by `end_all`.  Called by the restricted shell.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.agent import installed
from wherry.agent.smb_client import Login
from wherry.agent.state import AgentState
from wherry.agent.within import within
from wherry.client import kept_file
from wherry.model.errors import UsageError

SECONDS = 40.0
MOST_ENTRIES = 20
_FOLDER = "mounts"
_OPTIONS = "ro,nosuid,nodev,noexec"
_SYS_ADMIN = 21


@dataclass(frozen=True, slots=True)
class Kind:
    """A file system that is mounted: its name, who mounts it, of which package, by which options."""

    name: str
    program: str
    package: str
    options: str


NFS = Kind("nfs", "mount.nfs", "nfs-common", f"{_OPTIONS},soft,timeo=100,retrans=1,retry=0")
SMB = Kind("cifs", "mount.cifs", "cifs-utils", f"{_OPTIONS},soft,vers=default,port=445")


def look(state: AgentState, kind: Kind, source: str, login: Login | None = None) -> list[str]:
    """Mount `source`, list its root and unmount it: what is there, up to `MOST_ENTRIES` names.

    Raises `UsageError` when this user or this machine cannot, or the server does not let it.
    """
    check_possible(kind)
    with tempfile.TemporaryDirectory(prefix="login-", dir=state.directory) as private:
        options = kind.options
        if login is not None:
            secret = Path(private) / "login"
            kept_file.create(secret, login.file())
            options += f",credentials={secret}" if login.user else ",guest"
        command = [installed.place("mount", "mount"), "-t", kind.name, "-o", options, "--", source]
        return listed(state, command)


def check_possible(kind: Kind) -> None:
    """Raise `UsageError` with what lacks to mount this kind here."""
    if os.geteuid() != 0 or not _may_mount():
        raise UsageError(
            "Mounting needs root with the capability CAP_SYS_ADMIN, which this agent does not have. "
            "Use showmount or smbclient, or open the shell on the console as root: wherry agent shell."
        )
    installed.place(kind.program, kind.package)


def listed(state: AgentState, command: Sequence[str]) -> list[str]:
    """What lies in a new folder after `command` has mounted something there; nothing stays mounted."""
    at = Path(tempfile.mkdtemp(dir=kept_file.private_folder(state.directory / _FOLDER)))
    try:
        said = installed.run([*command, str(at)], SECONDS)
        if said.code != 0:
            raise UsageError(_why(said.text))
        try:
            return within(lambda: _names(at), SECONDS)
        finally:
            _unmount(at)
    finally:
        # Not while something of elsewhere could be in it.
        if not os.path.ismount(at):
            with contextlib.suppress(OSError):
                at.rmdir()


def end_all(state: AgentState) -> list[str]:
    """Unmount whatever earlier checks have left; the folders where it was."""
    folder = str(state.directory / _FOLDER) + "/"
    left = [at for at in _mount_points() if at.startswith(folder)]
    for at in left:
        _unmount(Path(at))
        Path(at).rmdir()
    return left


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return sorted((_plain(line.split()[4]) for line in lines), reverse=True)


def _plain(point: str) -> str:
    """A mount point as it is: spaces and the like are told in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)


def _unmount(at: Path) -> None:
    program = installed.place("umount", "mount")
    try:
        done = installed.run([program, "--no-canonicalize", str(at)], SECONDS).code == 0
    except UsageError:
        done = False
    if not done:
        # It vanishes from here at once, and for good when nobody waits for its server any more.
        said = installed.run([program, "--no-canonicalize", "--lazy", str(at)], SECONDS)
        if said.code != 0:
            raise UsageError(f"It cannot be unmounted: {said.last_line}")


def _names(at: Path) -> list[str]:
    found: list[str] = []
    with os.scandir(at) as entries:
        for entry in entries:
            if len(found) == MOST_ENTRIES:
                found.append("and more")
                break
            found.append(entry.name + ("/" if entry.is_dir(follow_symlinks=False) else ""))
    return found


def _may_mount() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _SYS_ADMIN & 1)


def _why(said: str) -> str:
    text = " ".join(said.split())[:500] or "mount failed without a word."
    if "unknown filesystem type" in text or "No such device" in text:
        return f"The kernel of this machine cannot mount this kind: {text}"
    return text
