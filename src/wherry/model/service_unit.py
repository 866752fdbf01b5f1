"""Units of systemd as text: sections, command lines in which nothing is expanded, and the cage of a service.

Called by what installs services.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from wherry.model.errors import UsageError

Settings = Sequence[tuple[str, str]]

CAGE: Settings = (
    ("NoNewPrivileges", "yes"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectProc", "invisible"),
    ("ProcSubset", "pid"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("RemoveIPC", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallErrorNumber", "EPERM"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@privileged @resources"),
)
"""What a service that only listens, connects and writes below its state directory can do without."""


def unit(about: Settings, service: Settings, target: str) -> str:
    """The text of a service that `target` wants."""
    sections = {"Unit": about, "Service": service, "Install": [("WantedBy", target)]}
    return "\n".join(
        "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in settings), ""])
        for name, settings in sections.items()
    )


def command_line(words: Iterable[str]) -> str:
    """A command, in which nothing is expanded; `UsageError` for what no unit can hold."""
    return " ".join(quoted(word).replace("$", "$$") for word in words)


def quoted(word: str) -> str:
    """A word as a unit holds it."""
    if not word.isprintable():
        raise UsageError(f"{word!r} holds a character that no unit can hold.")
    text = word.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
