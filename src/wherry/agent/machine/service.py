"""The machine's service: runs as root, listens on a Unix socket, and does nothing but the verbs of `verbs`.

Who connects is asked of the kernel: only root and the agent's own user are answered.  One thread does everything, so
that a change is never made beside another; nobody can keep it from its clock for longer than a peer's time limit.
Called by `wherry agent helper`.
"""

from __future__ import annotations

import logging
import os
import pwd
import signal
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from wherry.agent import log_lines
from wherry.agent.log_lines import tell
from wherry.agent.machine import subjects, verbs
from wherry.agent.machine.commands import Commands
from wherry.agent.machine.commands import System as Programs
from wherry.agent.machine.files import Files
from wherry.agent.machine.kept import Kept
from wherry.agent.machine.subjects import System
from wherry.agent.machine.tentative import Tentative
from wherry.agent.machine.verbs import Apply, Request, Show
from wherry.model.errors import UsageError, WherryError

_PEER_SECONDS = 5.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """`wherry agent helper`'s own options."""

    socket: Path
    agent_user: str
    root: Path = Path("/")


def serve(
    options: Options, commands: Commands | None = None, ready: Callable[[], None] = lambda: None
) -> None:
    """Serve until SIGTERM; what waits to be confirmed then is taken back at the next start."""
    system = System(Files(options.root), commands or Programs())
    with _listening(options.socket) as listener, _until_signal() as stopping:
        log_lines.configure()
        service = Service(system, options.agent_user)
        service.begin()
        tell(logging.INFO, "ready", "The machine's service listens.", socket=str(options.socket))
        ready()
        while not stopping:
            service.turn(listener)
        tell(logging.INFO, "stopped", "The machine's service has stopped.")


class Service:
    """What is done for whom; `turn` again and again."""

    def __init__(self, system: System, agent_user: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._agent_user = agent_user
        self._tentative = Tentative(system, clock)
        self._kept = Kept(system, clock)

    def begin(self) -> None:
        """Take back what was left, then see to what was set."""
        self._tentative.recover()
        self._kept.begin()

    def turn(self, listener: socket.socket) -> None:
        """Wait a little for somebody and answer them; take back what is over."""
        waits = self._tentative.waits
        listener.settimeout(_LOOK_SECONDS if waits is None else max(0.01, min(_LOOK_SECONDS, waits)))
        # A signal, or nobody came.
        with suppress(TimeoutError, InterruptedError):
            line, _ = listener.accept()
            with line:
                self._answer(line)
        self._tentative.expire()
        self._kept.turn()

    def _answer(self, line: socket.socket) -> None:
        uid = _uid_of(line)
        if not self._may(uid):
            tell(logging.WARNING, "refused", "Somebody else than the agent has connected.", uid=uid)
            return
        try:
            request = _read(line, time.monotonic() + _PEER_SECONDS)
            if request is None:
                return
            answer = self._told(request)
            line.settimeout(_PEER_SECONDS)
            line.sendall(verbs.line(answer))
        except OSError as gone:
            tell(logging.INFO, "gone", f"Who asked went away: {gone}")

    def _told(self, request: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, **self._do(verbs.parse(request))}
        except WherryError as trouble:
            return {"ok": False, "error": str(trouble)}
        except OSError as trouble:
            return {"ok": False, "error": f"The machine's files cannot be changed: {trouble.strerror}."}

    def _do(self, request: Request) -> dict[str, Any]:
        if isinstance(request, Show):
            return {**subjects.picture(self._system), "pending": self._tentative.picture()}
        if isinstance(request, Apply):
            change = self._tentative.begin(request.setting, request.seconds)
            return {"change": change, "seconds": request.seconds}
        if request.keep:
            self._tentative.confirm(request.change)
        else:
            self._tentative.roll_back(request.change)
        return {}

    def _may(self, uid: int) -> bool:
        """Looked up each time: the agent's user may be one that there is only while the agent runs."""
        if uid == 0:
            return True
        try:
            return uid == pwd.getpwnam(self._agent_user).pw_uid
        except KeyError:
            return False


def _uid_of(line: socket.socket) -> int:
    told = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", told)[1])


def _read(line: socket.socket, until: float) -> bytes | None:
    """A line; None when there comes none in time, or one that is too long."""
    found = b""
    while b"\n" not in found:
        left = until - time.monotonic()
        if left <= 0 or len(found) > verbs.LONGEST:
            return None
        line.settimeout(left)
        try:
            piece = line.recv(4096)
        except TimeoutError:
            return None
        if not piece:
            return None
        found += piece
    return found.partition(b"\n")[0]


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """The socket at `path`, in place of one that an earlier process has left."""
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    # Anybody may knock, the kernel says who it is.  By the umask: the folder may be another user's, who could put a
    # link in the socket's place before its mode was changed.
    before = os.umask(0o111)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        listener.bind(str(path))
    except OSError as trouble:
        listener.close()
        raise UsageError(f"Cannot listen at {path}: {trouble.strerror}.") from trouble
    finally:
        os.umask(before)
    try:
        listener.listen(8)
        yield listener
    finally:
        listener.close()
        with suppress(FileNotFoundError):
            path.unlink()


def _clear(path: Path) -> None:
    """Remove what an earlier process has left; raises `UsageError` when one is still there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
            line.settimeout(_PEER_SECONDS)
            line.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError as trouble:
        raise UsageError(f"Cannot listen at {path}: {trouble.strerror}.") from trouble
    else:
        raise UsageError(f"Another process listens at {path} already.")


@contextmanager
def _until_signal() -> Iterator[list[int]]:
    """What SIGTERM or SIGINT leave a number in."""
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
