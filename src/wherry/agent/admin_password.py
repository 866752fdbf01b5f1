"""The password of the user `admin`, who sees nothing but the agent's own shell.

    admin.json   the verifier of the password, and since when there is this agent

A new agent has the password that everybody knows.  It opens only the dialogue that changes it, over the network for a
day only, and on the machine's console for as long as it takes.  Nobody can recover a password: who has lost it
deploys another agent, and this one works on.  Called by the shell's SSH service and by `shell.system`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from wherry.client import kept_file
from wherry.model.errors import UsageError
from wherry.trust import passwords

USER = "admin"
DEFAULT = "admin"
DEFAULT_SECONDS = 24 * 3600.0


class Verdict(Enum):
    """What a password opens."""

    NOTHING = auto()
    CHANGE = auto()
    SHELL = auto()


class ChangedMeanwhile(UsageError):
    """The default password, by which somebody came in, is the password no more."""


@dataclass(frozen=True, slots=True)
class AdminPassword:
    """The password that lies in the agent's state `directory`."""

    directory: Path
    clock: Callable[[], float] = time.time

    def begin(self) -> None:
        """Count the day of the default password from now, unless it is counted already."""
        # A disk that is full keeps nobody out whose password is kept already.
        if not self._file.exists():
            kept_file.create(self._file, self._document("", self.clock()))

    @property
    def is_default(self) -> bool:
        """Whether nobody has changed it yet."""
        return not self._read()[0]

    def verdict(self, user: str, password: str, *, network: bool) -> Verdict:
        """What this password opens; takes as long for users that there are not."""
        verifier, since = self._read()
        known = passwords.matches(verifier if user == USER and verifier else None, password)
        if user != USER:
            return Verdict.NOTHING
        if verifier:
            return Verdict.SHELL if known else Verdict.NOTHING
        # A clock that stands before the beginning was set back: the day is over, too.
        in_time = 0 <= self.clock() - since < DEFAULT_SECONDS
        return Verdict.CHANGE if password == DEFAULT and (in_time or not network) else Verdict.NOTHING

    def change(self, password: str, *, first: bool = False) -> None:
        """Take another password; raises `UsageError` that says what is wrong with it.

        The `first` one takes the place of the default alone: who came in by that has no right to change any other.
        """
        weak = passwords.weakness(password, USER)
        if weak:
            raise UsageError(weak)
        verifier = passwords.protect(password)
        with self._alone():
            before, since = self._read()
            if first and before:
                raise ChangedMeanwhile(
                    "Somebody has changed the default password meanwhile. Log in by the new one."
                )
            kept_file.replace(self._file, self._document(verifier, since))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one of all sessions who changes it."""
        lock = os.open(self.directory / "admin.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @property
    def _file(self) -> Path:
        return self.directory / "admin.json"

    def _read(self) -> tuple[str, float]:
        """Verifier and beginning.  A file that is damaged opens nothing."""
        self.begin()
        try:
            found = json.loads(self._file.read_text())
            return str(found["verifier"]), float(found["since"])
        except (ValueError, KeyError, TypeError):
            return "damaged", 0.0

    @staticmethod
    def _document(verifier: str, since: float) -> bytes:
        return json.dumps({"verifier": verifier, "since": since}).encode() + b"\n"
