"""Starts NFS-Ganesha, a real server of NFS, with its port mapper, in a network namespace of their own.

Port mappers listen at one port that is the same everywhere.  Mounts and processes are the server's own too, so that
nothing of this machine is changed.  Needs root, `ip`, `unshare` and the packages `nfs-ganesha-vfs` and `rpcbind`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests import namespaces
from tests.namespaces import NUMBER, NamespacesMissing

T = TypeVar("T")
HOST = "127.0.0.1"
START_LIMIT = 60.0
_START = """
mount -t tmpfs none /run && mkdir /run/ganesha /run/rpcbind
mount -t tmpfs none /var/lib/nfs && mkdir /var/lib/nfs/ganesha
rpcbind -f &
until rpcinfo -T tcp 127.0.0.1 portmapper 2 > /dev/null 2>&1; do sleep 0.05; done
exec ganesha.nfsd -F -f "$1/conf" -L "$1/log" -p /run/ganesha/pid -N NIV_EVENT
"""
_CONFIGURATION = """
NFS_Core_Param { Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; }
EXPORT { Export_Id = 1; Path = %(path)s/some; Pseudo = /some; Access_Type = RO; FSAL { Name = VFS; }
         CLIENT { Clients = 10.0.0.0/8; } }
EXPORT { Export_Id = 2; Path = %(path)s/all; Pseudo = /all; Access_Type = RO; FSAL { Name = VFS; } }
"""


class GaneshaMissing(Exception):
    """NFS-Ganesha is not installed, or this is not root."""


@dataclass(frozen=True)
class Ganesha:
    """A running server: `inside` is where it is `HOST`."""

    folder: Path
    namespace: str

    def inside(self, work: Callable[[], T]) -> T:
        """What `work` gives, done where the server can be reached."""
        return namespaces.inside(self.namespace, work)


@contextmanager
def running_ganesha(listens: Callable[[], object]) -> Iterator[Ganesha]:
    """A server for a `with` statement, once `listens` raises no `OSError`; `GaneshaMissing` says what lacks."""
    programs = ("ganesha.nfsd", "rpcbind", "rpcinfo", "unshare", "ip")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        raise GaneshaMissing(
            f"NFS-Ganesha's tests need root and the packages nfs-ganesha-vfs, rpcbind ({missing})"
        )
    name = f"wherry-nfs-{NUMBER}"
    with tempfile.TemporaryDirectory(prefix="nfs-") as folder, _namespace(name):
        for export in ("some", "all"):
            (Path(folder) / export).mkdir()
        (Path(folder) / "conf").write_text(_CONFIGURATION % {"path": folder})
        command = ["ip", "netns", "exec", name, "unshare", "--mount", "--propagation", "private"]
        command += ["--pid", "--fork", "--kill-child", "sh", "-c", _START, "sh", folder]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            server = Ganesha(Path(folder), name)
            _wait(process, lambda: server.inside(listens))
            yield server
        finally:
            process.kill()
            process.wait()


@contextmanager
def _namespace(name: str) -> Iterator[None]:
    try:
        subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as refused:
        raise NamespacesMissing(refused.stderr.strip()) from refused
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def _wait(process: subprocess.Popen[bytes], listens: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            listens()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("NFS-Ganesha did not start")
