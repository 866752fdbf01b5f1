"""Challenge files of the identity endpoint: whoever can read one is a local user who may have tokens.

Azure's clients look in one folder of the machine only, whatever they are told.  A file holds one secret for one use and
for a minute; there are never more than a few.  Called by `identity_endpoint`.
"""

from __future__ import annotations

import contextlib
import grp
import hmac
import os
import secrets
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from wherry.model.errors import UsageError

FOLDER = Path("/var/opt/azcmagent/tokens")
ARC = Path("/opt/azcmagent/bin/himds")
LIFETIME = 60.0
MOST = 32
_OURS = "wherry-"


class Challenges:
    """The outstanding challenges.  `group` may read them besides the user that the agent runs as."""

    def __init__(self, folder: Path, group: str | None, clock: Callable[[], float]) -> None:
        self.folder = folder
        self._clock = clock
        self._gid = _group(group)
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str, float]] = {}
        self._handle = _opened(folder, self._gid)
        for name in os.listdir(self._handle):
            if name.startswith(_OURS):
                self._unlink(name)

    def close(self) -> None:
        """Take all files away."""
        with self._lock:
            for name in list(self._open):
                self._drop(name)
            os.close(self._handle)

    def make(self) -> Path:
        """A new challenge; the oldest goes when there are too many."""
        name, secret = f"{_OURS}{secrets.token_hex(16)}.key", secrets.token_urlsafe(32)
        with self._lock:
            self._sweep()
            while len(self._open) >= MOST:
                self._drop(next(iter(self._open)))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, 0o600, dir_fd=self._handle), "wb") as file:
                if self._gid is not None:
                    os.fchown(file.fileno(), -1, self._gid)
                os.fchmod(file.fileno(), 0o400 if self._gid is None else 0o440)
                file.write(secret.encode())
            self._open[name] = (secret, self._clock() + LIFETIME)
        return self.folder / name

    def redeem(self, secret: str) -> bool:
        """Whether this is the secret of a challenge that is still open; it is closed by that."""
        with self._lock:
            self._sweep()
            fitting = [
                name
                for name, (known, _) in self._open.items()
                if hmac.compare_digest(known.encode(), secret.encode(errors="replace"))
            ]
            for name in fitting:
                self._drop(name)
        return bool(fitting)

    def _sweep(self) -> None:
        now = self._clock()
        for name in [name for name, (_, until) in self._open.items() if until <= now]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        del self._open[name]
        self._unlink(name)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._handle)


def _group(name: str | None) -> int | None:
    try:
        return None if name is None else grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"There is no group '{name}' on this machine: make it first.") from None


def _opened(folder: Path, gid: int | None) -> int:
    """The folder, made when it is not there; nobody else may write in it."""
    if folder == FOLDER and ARC.exists():
        raise UsageError("The agent of Azure Arc is installed here: its identity endpoint is the one to use.")
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o700 if gid is None else 0o750)
            if gid is not None:
                os.chown(folder, -1, gid)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as trouble:
        raise UsageError(
            f"{folder}, where Azure's clients look for challenges, cannot be used: {trouble.strerror}. "
            "Make it for the user that the agent runs as."
        ) from trouble
    found = os.fstat(handle)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        os.close(handle)
        raise UsageError(f"{folder} must belong to the user of the agent, and nobody else may write in it.")
    return handle
