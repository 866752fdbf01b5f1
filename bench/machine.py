"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def describe(scratch: Path) -> dict[str, str]:
    """The machine, as the page tells it."""
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": f"{platform.python_version()}, {_origin()}",
        "file system": file_system(scratch),
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "sources": sources(),
    }


def _origin() -> str:
    """Where Python comes from, as that of a distribution is built with more care than most others."""
    return "the system's own" if sys.base_prefix == "/usr" else "not the system's own"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(place: Path) -> str:
    """The type of the file system that `place` is on."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, one, *_ = line.split()
        inside = str(place.resolve()) == mount or str(place.resolve()).startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, one
    return kind


def sources() -> str:
    """What was measured, whatever else changed meanwhile; a plus sign: files differ from what is committed."""
    named = _git("rev-parse", "--short=12", "HEAD:src")
    return (named or "unknown") + ("+" if _git("status", "--porcelain", "--", "src") else "")


def _git(*arguments: str) -> str:
    answer = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def room(place: Path) -> int:
    """Bytes that fit into the file system of `place`; for one in memory, what memory is left of it too."""
    facts = os.statvfs(place)
    free = facts.f_bavail * facts.f_frsize
    if file_system(place) == "tmpfs":
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return min(free, int(line.split()[1]) * 1024)
    return free


def scratch() -> Path:
    """Where trees are made when nothing else is said: in memory, where the machine has such a place."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else Path("/tmp")
