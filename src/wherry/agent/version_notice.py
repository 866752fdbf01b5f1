"""What the control plane says of the version of this agent's program, kept for whoever asks on this machine.

    version.json   the last notice; not there while the version is the newest or nobody said otherwise

`daemon` hears it with each heartbeat and each refusal; the shell's service status shows it.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from wherry.agent.log_lines import tell
from wherry.client import kept_file
from wherry.model.agent_versions import REQUIRED, Notice
from wherry.model.errors import ApiError

_FILE = "version.json"


@dataclass
class VersionNotice:
    """The notice of one agent that runs, for all of its threads; says each once in the log."""

    directory: Path
    _last: Notice | None = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._last = kept(self.directory)

    def heard(self, notice: Notice | None) -> None:
        """A heartbeat was answered."""
        with self._lock:
            if notice == self._last:
                return
            self._last = notice
            if notice is None:
                tell(
                    logging.INFO, "version.served", "The version of this agent's program is as it should be."
                )
            else:
                level = logging.ERROR if notice.required else logging.WARNING
                tell(level, "version.old", notice.message, code=notice.code, version=notice.version)
            self._keep(notice)

    def refused(self, trouble: ApiError) -> bool:
        """Whether an answer is the refusal of an old program, which is heard then."""
        if trouble.code != REQUIRED:
            return False
        with self._lock:
            if self._last is None or not self._last.required:
                self.heard(Notice(REQUIRED, "", trouble.message))
        return True

    def _keep(self, notice: Notice | None) -> None:
        file = self.directory / _FILE
        try:
            if notice is None:
                kept_file.remove(file)
            else:
                kept_file.replace(file, json.dumps(notice.to_json()).encode() + b"\n")
        except OSError as trouble:
            # It is in the log, and at the control plane.
            tell(logging.WARNING, "disk", f"The notice cannot be kept: {trouble.strerror}.")


def kept(directory: Path) -> Notice | None:
    """The last notice that an agent has heard; None when there is none, or none that can be read."""
    try:
        return Notice.from_json(json.loads((directory / _FILE).read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None
