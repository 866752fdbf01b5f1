"""The peers: where they come from, which version is here, how to bring what is missing.

rsync, fpart with fpsync, and an rclone come from Debian. That rclone is of 2022, so a current one is built from its Go
module where Go is installed, and preferred. AzCopy is an npm package. All that is not Debian's goes to `.cache/bench`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
RCLONE_MODULE = "github.com/rclone/rclone@v1.76.0"
AZCOPY_PACKAGE = "@azure-tools/azcopy-linux@10.32.2"
_GO_PLACES = ("/usr/local/go/bin", "/usr/lib/go/bin")
_INSTALL_SECONDS = 1800.0


@dataclass(frozen=True)
class Peer:
    """A program of others: its Debian package, if it has one, and what prints its version."""

    name: str
    package: str
    version: tuple[str, ...]
    pattern: str


PEERS = (
    Peer("cp", "coreutils", ("--version",), r"coreutils\) (\S+)"),
    Peer("rsync", "rsync", ("--version",), r"version v?(\S+)"),
    Peer("fpsync", "fpart", ("-h",), r"fpsync v?(\S+)"),
    Peer("rclone", "rclone", ("version",), r"rclone v(\S+)"),
    Peer("azcopy", "", ("--version",), r"version (\S+)"),
)


def program(name: str) -> str | None:
    """The path of a peer's program: the one in the cache before the machine's own."""
    places = [str(CACHE / "bin"), str(_azcopy().parent), os.environ.get("PATH", os.defpath)]
    return shutil.which(name, path=os.pathsep.join(places))


def versions() -> dict[str, str]:
    """The versions of the peers that are here."""
    found = {}
    for peer in PEERS:
        path = program(peer.name)
        if path is not None:
            answer = subprocess.run(
                [path, *peer.version], capture_output=True, text=True, check=False, env=quiet_environment()
            )
            match = re.search(peer.pattern, answer.stdout + answer.stderr)
            found[peer.name] = match[1] if match else "unknown"
    return found


def quiet_environment() -> dict[str, str]:
    """The environment in which AzCopy keeps its state to itself."""
    return {**os.environ, "AZCOPY_LOG_LOCATION": str(CACHE), "AZCOPY_JOB_PLAN_LOCATION": str(CACHE)}


def install() -> list[str]:
    """Bring what is missing and can be had; returns what was done or why not, a line each."""
    CACHE.mkdir(parents=True, exist_ok=True)
    told = [_install_package(peer) for peer in PEERS if peer.package and program(peer.name) is None]
    if not (CACHE / "bin" / "rclone").exists():
        told.append(_build_rclone())
    if program("azcopy") is None:
        told.append(_install_azcopy())
    return told


def _install_package(peer: Peer) -> str:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"{peer.name}: not here; install the package {peer.package}"
    return _tried(peer.name, ["apt-get", "install", "-y", "-q", peer.package], {})


def _build_rclone() -> str:
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *_GO_PLACES])
    go = shutil.which("go", path=places)
    if go is None:
        return "rclone: no Go here to build a current one; the machine's own is measured"
    environment = {"GOBIN": str(CACHE / "bin"), "CGO_ENABLED": "0"}
    return _tried("rclone", ["nice", go, "install", "-trimpath", "-ldflags=-s", RCLONE_MODULE], environment)


def _azcopy() -> Path:
    return CACHE / "azcopy" / "bin" / "azcopy"


def _install_azcopy() -> str:
    npm = shutil.which("npm")
    if npm is None:
        return "azcopy: no npm here to bring it"
    home = CACHE / "azcopy"
    home.mkdir(exist_ok=True)
    command = [
        npm,
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
        str(home),
        AZCOPY_PACKAGE,
    ]
    told = _tried("azcopy", command, {})
    binaries = list(home.glob("node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64"))
    if os.uname().machine == "x86_64" and binaries:
        binaries[0].chmod(0o755)
        _azcopy().parent.mkdir(exist_ok=True)
        _azcopy().unlink(missing_ok=True)
        _azcopy().symlink_to(binaries[0])
        if versions().get("azcopy") == "unknown":
            told += "; " + _install_package(Peer("its library", "libsecret-1-0", (), ""))
    return told


def _tried(name: str, command: list[str], environment: dict[str, str]) -> str:
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **environment}, timeout=_INSTALL_SECONDS, cwd=CACHE, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{name}: could not be brought here: {error}"
    if answer.returncode:
        return f"{name}: could not be brought here: {answer.stdout.strip().splitlines()[-1:]}"
    return f"{name}: installed"
