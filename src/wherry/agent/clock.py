"""The clock of the machine: who tells it the time, and whether it listens.  Needs no right; called by the shell."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

_UNSYNCHRONISED = 5
# What the kernel fills in is smaller on every machine.
_ROOM = 512
_FOLDERS = (
    "usr/lib/systemd/timesyncd.conf.d",
    "etc/systemd/timesyncd.conf.d",
    "run/systemd/timesyncd.conf.d",
)


def state(root: Path = Path("/")) -> str:
    """Whether the clock follows others: as the kernel has it or, for who may not ask that, as systemd-timesyncd has."""
    answer = _adjtimex()
    if answer is not None and answer >= 0:
        return "not synchronized" if answer == _UNSYNCHRONISED else "synchronized"
    told = root / "run/systemd/timesync"
    if not told.is_dir():
        return "nobody knows whether it is right"
    return "synchronized" if (told / "synchronized").exists() else "not synchronized"


def time_servers(root: Path = Path("/")) -> list[str]:
    """The servers that systemd-timesyncd is told; empty where it has those that it was built with."""
    files = [root / "etc/systemd/timesyncd.conf"]
    for folder in _FOLDERS:
        files += (root / folder).glob("*.conf")
    told: dict[str, list[str]] = {"NTP": [], "FallbackNTP": []}
    # As systemd reads them: by their names, wherever they lie, the main one first.
    for path in [files[0], *sorted(files[1:], key=lambda one: one.name)]:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        for name, value in re.findall(r"^(NTP|FallbackNTP)[ \t]*=(.*)$", text, re.MULTILINE):
            told[name] = [*told[name], *value.split()] if value.strip() else []
    return told["NTP"] or told["FallbackNTP"]


def _adjtimex() -> int | None:
    """The kernel's word on its clock; nothing is changed by an empty question."""
    try:
        ask = ctypes.CDLL(None).adjtimex
    except AttributeError:
        return None
    return int(ask(ctypes.create_string_buffer(_ROOM)))
