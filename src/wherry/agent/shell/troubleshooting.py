"""Entries that look for what is wrong with a source: each step of the way to a share or an export, kept for the bundle.

What they find is shown and written to one file, which each run replaces and the next support bundle holds.  Passwords
are neither shown nor written.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import closing

from wherry.agent import bundle, log_lines, onc_rpc, smb_client, trial_mount
from wherry.agent.lookup import look_up
from wherry.agent.shell import shares
from wherry.agent.shell.here import Here
from wherry.agent.smb_client import Login
from wherry.agent.within import within
from wherry.client import kept_file
from wherry.model import names
from wherry.model.errors import UsageError, WherryError

_LOOKUP_SECONDS = 20.0
_CONNECT_SECONDS = 10.0
_SMB_PORT, _NFS_PORT = 445, 2049
_LOG_LINES = 40
_KERNEL_LINES = 20
_TAIL = 64 * 1024
Step = tuple[str, Callable[[], list[str]]]


def smb(here: Here) -> None:
    """Try a share of SMB step by step."""
    host = here.question("Host of the SMB server", _trouble(shares.host_name))
    share = here.question(
        "Share (Enter for none)", _trouble(lambda text: text and smb_client.share_name(text))
    )
    login = shares.login(here)
    steps: list[Step] = [*_way(host, _SMB_PORT), ("Shares", lambda: smb_client.shares(host, login))]
    if share:
        steps += [
            (f"Root of {share}", lambda: smb_client.folder(host, share, "", login)),
            ("Trial mount", lambda: _mounted(here, trial_mount.SMB, f"//{host}/{share}", login)),
        ]
    _go(here, f"SMB: {host} {share}".strip(), [*steps, ("Kernel", lambda: _kernel("cifs"))])


def nfs(here: Here) -> None:
    """Try an export of NFS step by step."""
    host = here.question("Host of the NFS server", _trouble(shares.host_name))
    export = here.question("Export, such as /data (Enter for none)", _no_export)
    steps: list[Step] = [*_way(host, _NFS_PORT), ("Exports", lambda: _exports(host))]
    if export:
        source = f"[{host}]:{export}" if ":" in host else f"{host}:{export}"
        steps.append(("Trial mount", lambda: _mounted(here, trial_mount.NFS, source, None)))
    _go(here, f"NFS: {host} {export}".strip(), [*steps, ("Kernel", lambda: _kernel("nfs"))])


def log(here: Here) -> None:
    """The last lines of the agent's own log, for people."""
    files = log_lines.kept(here.state.directory)
    if not files:
        raise UsageError("There is no log yet: the agent has not run.")
    with files[0].open("rb") as opened:
        opened.seek(max(0, files[0].stat().st_size - _TAIL))
        lines = opened.read(_TAIL).decode(errors="backslashreplace").splitlines()[-_LOG_LINES:]
    for line in lines:
        here.terminal.say(_readable(line))


def _readable(line: str) -> str:
    try:
        told = json.loads(line)
        return f"{told['time']}  {told['level']:<8}{told['event']}: {told['message']}"
    except (ValueError, KeyError, TypeError):
        return line


def _go(here: Here, what: str, steps: list[Step]) -> None:
    """Do all steps, whatever comes of each, and keep what they told."""
    told = [f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {what}"]
    for name, work in steps:
        here.terminal.say(f"{name} ...")
        try:
            found, passed = work(), True
        except WherryError as trouble:
            found, passed = [str(trouble)], False
        except OSError as trouble:
            found, passed = [f"{trouble.strerror or trouble}"], False
        lines = [f"{'PASS' if passed else 'FAIL'}  {name}", *(f"      {line}" for line in found)]
        here.terminal.say("\n".join(lines))
        told += lines
    content = "\n".join(told) + "\n"
    kept_file.private_folder((here.state.directory / bundle.TROUBLE).parent)
    kept_file.replace(here.state.directory / bundle.TROUBLE, content.encode(errors="backslashreplace"))
    here.terminal.say("The next support bundle holds this.")


def _way(host: str, port: int) -> list[Step]:
    def looked_up() -> list[str]:
        found = within(lambda: look_up(host, port), _LOOKUP_SECONDS)
        return list(dict.fromkeys(str(where[0]) for _, where in found))

    def connected() -> list[str]:
        with closing(socket.create_connection((host, port), _CONNECT_SECONDS)) as line:
            return [f"{line.getpeername()[0]} answers"]

    return [("Name lookup", looked_up), (f"TCP {port}", connected)]


def _exports(host: str) -> list[str]:
    return [
        f"{names.escape(one.path)} to {', '.join(map(names.escape, one.to)) or 'everybody'}"
        for one in onc_rpc.exports(host)
    ]


def _mounted(here: Here, kind: trial_mount.Kind, source: str, login: Login | None) -> list[str]:
    return ["mounted, listed and unmounted", *trial_mount.look(here.state, kind, source, login)]


def _kernel(word: str) -> list[str]:
    """What the kernel has written lately about such mounts."""
    lines = [line for line in bundle.kernel_log().splitlines() if word in line.lower()]
    return [line.rpartition(";")[2] for line in lines[-_KERNEL_LINES:]] or ["nothing"]


def _trouble(check: Callable[[str], object]) -> Callable[[str], str]:
    def trouble(answer: str) -> str:
        try:
            check(answer)
        except UsageError as wrong:
            return str(wrong)
        return ""

    return trouble


def _no_export(answer: str) -> str:
    return "" if not answer or shares.is_export(answer) else "An export is a path that begins with a slash."
