"""A support bundle: what somebody who was not there needs to see, and nothing that opens anything.

Only what is named here goes in, so that a secret of tomorrow stays out by itself; what looks like one is blanked all
the same.  It works while the agent does not: nothing is asked of it.  Called by the shell and `wherry agent bundle`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wherry.agent import bundle_own, facts, log_lines, network_report
from wherry.agent.state import AgentState
from wherry.client import kept_file
from wherry.model.errors import UsageError
from wherry.model.text import without_secrets
from wherry.model.way import DIRECT

LEFT_OUT = (
    "the keys of the agent's identity and its proofs of it (key*.pem, join.json)",
    "the proxy's password and the certificates of authorities that are trusted besides (way.json)",
    "the verifier of the admin's password (admin.json) and the key of the SSH service (ssh_host_key)",
    "command lines and environments of all processes but the agent's own, which may hold secrets of others",
    "names and contents of files of sources and targets; the copy log has those",
    "whatever looks like a token, a signature, a key or a password",
)
"""What is never in a bundle, to be told before one is made."""
TROUBLE = "log/troubleshooting.log"
"""What the shell's last search for trouble with a share has found, in the agent's state directory."""
KEPT = 5
"""So many bundles stay; the oldest go."""

_MOST_OF_ONE = 8 * 1024 * 1024
_SYSTEM = {
    "misc/meminfo.txt": "/proc/meminfo",
    "misc/load.txt": "/proc/loadavg",
    "misc/mounts.txt": "/proc/self/mounts",
    "misc/interfaces.txt": "/proc/net/dev",
    "misc/routes.txt": "/proc/net/route",
    "misc/netstat.txt": "/proc/net/tcp",
    "misc/netstat6.txt": "/proc/net/tcp6",
    "misc/resolver.txt": "/etc/resolv.conf",
    "misc/system.txt": "/etc/os-release",
}
_OF_STATE = ("registration.json", "server.json", "ca.pem", "machine-id", "programs/chosen.json")
# To ask those that are not here may take for ever.
_FAR = re.compile(r"^(nfs|cifs|smb|fuse|9p|ceph|afs)")
_STATUS = ("Name", "State", "Uid", "Threads", "VmRSS")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was made: its size in bytes, its SHA-256, and what could not be read."""

    path: Path
    size: int
    sha256: str
    missing: tuple[str, ...]


def folder(state: AgentState) -> Path:
    """Where an agent's support bundles lie; the agent alone writes there."""
    return kept_file.private_folder(state.directory / "bundles")


def collect(state: AgentState, clock: Callable[[], float] = time.time) -> Bundle:
    """Make a bundle; raises `OSError` when it cannot be written, and leaves nothing then."""
    now = clock()
    name = f"support-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{secrets.token_hex(3)}"
    place = folder(state)
    path, beside = place / f"{name}.tar.gz", place / f".{name}"
    missing = []
    try:
        with tarfile.open(beside, "x:gz") as archive:
            for part, content in _parts(state):
                try:
                    text = content()
                except OSError as trouble:
                    missing.append(f"{part}: {trouble.strerror}")
                else:
                    _add(archive, f"{name}/{part}", text, now)
            _add(archive, f"{name}/left-out.txt", "\n".join([*LEFT_OUT, *missing, ""]), now)
        beside.chmod(0o600)
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
    for old in sorted(place.glob("support-*.tar.gz"))[:-KEPT]:
        old.unlink()
    with path.open("rb") as made:
        digest = hashlib.file_digest(made, "sha256").hexdigest()
    return Bundle(path, path.stat().st_size, digest, tuple(missing))


def _parts(state: AgentState) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each file of a bundle, and how to come by it."""
    yield "own/health.json", partial(_health, state)
    yield from bundle_own.parts(state)
    for name in _OF_STATE:
        if (state.directory / name).exists():
            yield f"root/{Path(name).name}", partial(_tail, state.directory / name)
    for file in log_lines.kept(state.directory):
        yield f"var/log/{file.name}", partial(_tail, file)
    if (state.directory / TROUBLE).exists():
        yield f"var/{TROUBLE}", partial(_tail, state.directory / TROUBLE)
    yield "misc/files.txt", partial(_files, state.directory)
    yield "misc/ifconfig.txt", partial(_network, state)
    for name, source in _SYSTEM.items():
        yield name, partial(_tail, Path(source))
    yield "misc/df.txt", _disks
    yield "misc/top.txt", _processes
    yield "misc/dmesg.txt", kernel_log


def _network(state: AgentState) -> str:
    """Interfaces, routes, name servers and the proxy without its password."""
    try:
        return network_report.report(state.way())
    except UsageError as damaged:
        return f"{damaged}\n{network_report.report(DIRECT)}"


def _add(archive: tarfile.TarFile, name: str, content: str, now: float) -> None:
    data = without_secrets(content).encode(errors="backslashreplace")
    about = tarfile.TarInfo(name)
    about.size, about.mode, about.mtime = len(data), 0o600, int(now)
    archive.addfile(about, io.BytesIO(data))


def _tail(file: Path) -> str:
    """The end of a file; those of the system do not tell their size."""
    with file.open("rb") as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - _MOST_OF_ONE))
        return opened.read(_MOST_OF_ONE).decode(errors="backslashreplace")


def _health(state: AgentState) -> str:
    known = state.registration()
    url = known.url if known else state.server
    told = {
        "agentId": known.agent_id if known else None,
        "url": url,
        **facts.heartbeat(url or "https://localhost"),
    }
    return json.dumps(told, indent=2) + "\n"


def _files(directory: Path) -> str:
    """Names, sizes and modes of what the agent keeps; not what is in it."""
    lines = []
    for path in sorted(directory.rglob("*")):
        about = path.lstat()
        changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(about.st_mtime))
        lines.append(f"{about.st_mode:06o} {about.st_size:12} {changed} {path.relative_to(directory)}")
    return "\n".join(lines) + "\n"


def _disks() -> str:
    """Room on the disks of this machine."""
    lines = ["kind size_mb free_mb inodes_free where"]
    for line in _tail(Path("/proc/self/mounts")).splitlines():
        _, where, kind, *_ = line.split(" ")
        if _FAR.match(kind):
            continue
        try:
            room = os.statvfs(where.encode().decode("unicode_escape"))
        except OSError:
            continue
        size, free = (count * room.f_frsize >> 20 for count in (room.f_blocks, room.f_bavail))
        if size:
            lines.append(f"{kind} {size} {free} {room.f_favail} {where}")
    return "\n".join(lines) + "\n"


def _processes() -> str:
    """Names and sizes of all processes, without what they were called with."""
    lines = ["pid " + " ".join(_STATUS)]
    for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            told = _status((entry / "status").read_text(errors="backslashreplace"))
        except OSError:  # It has ended.
            continue
        lines.append(f"{entry.name} " + " ".join(told.get(word, "-") for word in _STATUS))
    return "\n".join(lines) + "\n"


def _status(text: str) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip().replace("\t", ",") for name, _, value in pairs}


def kernel_log() -> str:
    """The log of the kernel, as far as this user may read it."""
    records = []
    with open(
        "/dev/kmsg", "rb", buffering=0, opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)
    ) as log:
        while record := _next(log):
            records.append(record)
    return b"".join(records).decode(errors="backslashreplace")[-_MOST_OF_ONE:]


def _next(log: io.FileIO) -> bytes:
    try:
        return log.read(8192) or b""
    except BrokenPipeError:
        # It was overwritten meanwhile; the next one is there.
        return b"...\n"
