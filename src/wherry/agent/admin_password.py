"""The password of the user `admin`, who sees nothing but the agent's own shell.

    admin.json   the verifier of the password, and since when there is this agent

A new agent has the password that everybody knows.  It opens only the dialogue that changes it, over the network for a
day only, and on the machine's console for as long as it takes.  Nobody can recover a password: who has lost it
deploys another agent, and this one works on.  Called by the shell's SSH service and by `shell.system`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
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

    def change(self, password: str) -> None:
        """Take another password; raises `UsageError` that says what is wrong with it."""
        weak = passwords.weakness(password, USER)
        if weak:
            raise UsageError(weak)
        since = self._read()[1]
        kept_file.replace(self._file, self._document(passwords.protect(password), since))

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
