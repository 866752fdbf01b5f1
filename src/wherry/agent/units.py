"""The services of an agent's machine as units of systemd, made from what its owner says.  Pure code.

    wherry-agent.service       the agent: a user of its own that exists only with it, and few capabilities
    wherry-helper.service      the small service of root that changes the machine's settings
    wherry-identity.service    the identity endpoint, without the agent's key and without any capability
    wherry-console@.service    the admin shell on a terminal of the machine

Called by `install`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.agent.capabilities import FOR_ALL, FOR_TARGETS
from wherry.model.errors import UsageError

AGENT, HELPER, IDENTITY = "wherry-agent.service", "wherry-helper.service", "wherry-identity.service"
CONSOLE = "wherry-console@.service"
USER = "wherry-agent"
IDENTITY_USER = "wherry-identity"
TOKEN_GROUP = "wherry-tokens"  # noqa: S105 - the name of a group
STATE = "/var/lib/wherry-agent"
HELPER_SOCKET = "/run/wherry-helper/helper.sock"
TOKEN_SOCKET = "/run/wherry-agent/tokens.sock"  # noqa: S105 - the name of a file

_SERIAL = re.compile(r"(ttyS|hvc|ttyAMA|xvc)\d+")
_TERMINAL = re.compile(r"tty\d+")

Settings = Sequence[tuple[str, str]]

_CAGE: Settings = (
    ("NoNewPrivileges", "yes"),
    ("ProtectSystem", "strict"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectProc", "invisible"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("RemoveIPC", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallErrorNumber", "EPERM"),
    ("SystemCallFilter", "@system-service"),
)
_FEW_CALLS = ("SystemCallFilter", "~@privileged @resources")
_NO_CAPABILITIES: Settings = (("CapabilityBoundingSet", ""), ("AmbientCapabilities", ""))
_AGAIN: Settings = (("Restart", "always"), ("RestartSec", "5"))


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity endpoint that the owner asked for: its port, and what its tokens may be for."""

    port: int
    audiences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the owner of the machine says.

    `program` is `wherry` by its whole path, `options` are further ones of `wherry agent run`; `consoles` are terminals
    that get the admin shell in place of the system's own log-in.
    """

    program: Path
    allow_source: tuple[Path, ...] = ()
    allow_target: tuple[Path, ...] = ()
    ssh_listen: str | None = None
    options: tuple[str, ...] = ()
    newer_menus: bool = False
    helper: bool = True
    identity: Identity | None = None
    consoles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for path in (self.program, *self.allow_source, *self.allow_target):
            if not path.is_absolute():
                raise UsageError(f"{path}: whole paths are needed, as a service begins in no folder.")
        for console in self.consoles:
            getty(console)


def files(wanted: Wanted) -> dict[str, str]:
    """Every unit by its name."""
    made = {AGENT: _agent(wanted)}
    if wanted.helper:
        made[HELPER] = _helper(wanted)
    if wanted.identity is not None:
        made[IDENTITY] = _identity(wanted, wanted.identity)
    if wanted.consoles:
        made[CONSOLE] = _console(wanted)
    return made


def started(wanted: Wanted) -> tuple[str, ...]:
    """The units that are to run, in an order in which they can be started."""
    consoles = [CONSOLE.replace("@", f"@{one}") for one in wanted.consoles]
    found = [HELPER] * wanted.helper + [AGENT] + [IDENTITY] * (wanted.identity is not None)
    return (*found, *consoles)


def getty(console: str) -> str:
    """The system's own log-in on a terminal, which the admin shell takes the place of."""
    if _SERIAL.fullmatch(console):
        return f"serial-getty@{console}.service"
    if _TERMINAL.fullmatch(console):
        return f"getty@{console}.service"
    raise UsageError(f"'{console}' is no terminal of a machine, such as tty1 or ttyS0.")


def _agent(wanted: Wanted) -> str:
    targets = bool(wanted.allow_target)
    capabilities = " ".join((*FOR_ALL, *FOR_TARGETS) if targets else FOR_ALL)
    command = [str(wanted.program), "agent", "run", "--state", STATE]
    for option, paths in (("--allow-source", wanted.allow_source), ("--allow-target", wanted.allow_target)):
        command += [word for path in paths for word in (option, str(path))]
    if wanted.ssh_listen is not None:
        command += ["--ssh-listen", wanted.ssh_listen]
    if wanted.identity is not None:
        command += ["--identity-endpoint", str(wanted.identity.port), "--identity-socket", TOKEN_SOCKET]
        command += ["--identity-user", IDENTITY_USER, *_audiences(wanted.identity)]
    command += [*wanted.options, *_menus(wanted)]
    return _unit(
        [
            ("Description", "Agent of a Wherry storage mover"),
            ("Wants", "network-online.target"),
            ("After", f"network-online.target {HELPER}"),
            ("StartLimitIntervalSec", "0"),
        ],
        [
            ("Type", "notify"),
            # An agent that upgrades itself speaks for the process that has started it.
            ("NotifyAccess", "all"),
            ("ExecStart", _line(command)),
            *_AGAIN,
            ("WatchdogSec", "300"),
            ("TimeoutStartSec", "300"),
            ("TimeoutStopSec", "120"),
            *_user(USER),
            ("StateDirectory", USER),
            ("StateDirectoryMode", "0700"),
            ("RuntimeDirectory", USER),
            ("UMask", "0022" if targets else "0077"),
            ("LimitNOFILE", "65536"),
            ("CapabilityBoundingSet", capabilities),
            ("AmbientCapabilities", capabilities),
            *_CAGE,
            *([("SystemCallFilter", "~@resources")] if targets else [_FEW_CALLS]),
            ("ProtectHome", "read-only"),
            # Addresses and routes of the machine are read by netlink.
            ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
            # A folder that is not there is named by the agent itself.
            *(("ReadWritePaths", _quoted(f"-{path}")) for path in wanted.allow_target),
        ],
        "multi-user.target",
    )


def _helper(wanted: Wanted) -> str:
    command = [str(wanted.program), "agent", "helper", "--socket", HELPER_SOCKET, "--agent-user", USER]
    return _unit(
        [
            ("Description", "Settings of the machine of a Wherry agent"),
            ("Before", AGENT),
            ("StartLimitIntervalSec", "0"),
        ],
        [
            ("Type", "notify"),
            ("ExecStart", _line(command)),
            *_AGAIN,
            ("RuntimeDirectory", "wherry-helper"),
            ("RuntimeDirectoryPreserve", "restart"),
            ("StateDirectory", "wherry-helper"),
            ("StateDirectoryMode", "0700"),
            # What settings of network, name and time need, and no more.
            (
                "CapabilityBoundingSet",
                "CAP_NET_ADMIN CAP_SYS_ADMIN CAP_SYS_TIME CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER",
            ),
            *_but(_CAGE, {"ProtectClock": "no"}),
            ("SystemCallFilter", "@clock sethostname"),
            ("ProtectHome", "yes"),
            ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
            ("ReadWritePaths", "/etc"),
        ],
        "multi-user.target",
    )


def _identity(wanted: Wanted, identity: Identity) -> str:
    command = [
        str(wanted.program),
        "agent",
        "identity-endpoint",
        str(identity.port),
        "--socket",
        TOKEN_SOCKET,
    ]
    command += [
        "--directory",
        f"/run/{IDENTITY_USER}",
        "--identity-group",
        TOKEN_GROUP,
        *_audiences(identity),
    ]
    return _unit(
        [
            ("Description", "Identity endpoint of a Wherry agent"),
            ("After", AGENT),
            ("StartLimitIntervalSec", "0"),
        ],
        [
            ("Type", "notify"),
            ("ExecStart", _line(command)),
            *_AGAIN,
            *_user(IDENTITY_USER),
            ("Group", TOKEN_GROUP),
            ("RuntimeDirectory", IDENTITY_USER),
            ("RuntimeDirectoryMode", "0750"),
            ("UMask", "0077"),
            *_NO_CAPABILITIES,
            *_CAGE,
            _FEW_CALLS,
            # Challenges are given to the group of those who may read them.
            ("SystemCallFilter", "@chown"),
            ("ProtectHome", "yes"),
            ("ProtectHostname", "yes"),
            ("ProcSubset", "pid"),
            ("RestrictAddressFamilies", "AF_UNIX AF_INET"),
            ("IPAddressDeny", "any"),
            ("IPAddressAllow", "localhost"),
        ],
        "multi-user.target",
    )


def _console(wanted: Wanted) -> str:
    command = [str(wanted.program), "agent", "shell", "--state", STATE, "--login", *_menus(wanted)]
    return _unit(
        [
            ("Description", "Admin shell of a Wherry agent on %I"),
            ("After", f"{AGENT} systemd-user-sessions.service"),
            ("Before", "getty.target"),
            ("Conflicts", "rescue.service"),
            ("ConditionPathExists", "/dev/%I"),
            ("StartLimitIntervalSec", "0"),
        ],
        [
            ("Type", "idle"),
            ("ExecStart", _line(command)),
            ("Restart", "always"),
            ("RestartSec", "1"),
            ("Environment", "TERM=linux"),
            ("StandardInput", "tty"),
            ("StandardOutput", "tty"),
            # Where Python asks its questions.
            ("StandardError", "tty"),
            ("TTYPath", "/dev/%I"),
            ("TTYReset", "yes"),
            ("TTYVHangup", "yes"),
            # The same user as the agent's: they share its state directory.
            *_user(USER),
            ("StateDirectory", USER),
            ("StateDirectoryMode", "0700"),
            ("UMask", "0077"),
            *_NO_CAPABILITIES,
            *_but(_CAGE, {"PrivateDevices": "no"}),
            _FEW_CALLS,
            ("ProtectHome", "yes"),
            ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
        ],
        "multi-user.target",
    )


def _user(name: str) -> Settings:
    return (("User", name), ("DynamicUser", "yes"))


def _but(settings: Settings, others: Mapping[str, str]) -> Settings:
    return [(name, others.get(name, value)) for name, value in settings]


def _audiences(identity: Identity) -> list[str]:
    return [word for one in identity.audiences for word in ("--identity-audience", one)]


def _menus(wanted: Wanted) -> list[str]:
    return ["--newer-menus"] if wanted.newer_menus else []


def _unit(about: Settings, service: Settings, target: str) -> str:
    sections = {"Unit": about, "Service": service, "Install": [("WantedBy", target)]}
    return "\n".join(
        "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in settings), ""])
        for name, settings in sections.items()
    )


def _line(words: Iterable[str]) -> str:
    """A command line of a unit, in which nothing is expanded."""
    return " ".join(_quoted(word, command=True) for word in words)


def _quoted(word: str | Path, *, command: bool = False) -> str:
    text = str(word)
    if not text.isprintable():
        raise UsageError(f"{text!r} holds a character that no unit can hold.")
    text = text.replace("%", "%%")
    if command:
        text = text.replace("$", "$$")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
