"""The agent's own log: one JSON object a line on standard error, with time, level, event and message.

Names of files and secrets have no place in it: what happened to items is in the copy log.  `configure` is called
once a process, by the daemon; everything else uses `tell`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

from wherry.client import kept_file

_FILE = "agent.log"
_FILES = 4
_FILE_BYTES = 4 * 1024 * 1024
LOGGER = "wherry.agent"
_log = logging.getLogger(LOGGER)


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send everything that this process logs to `stream` as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell requests with all that they hold at lower levels.
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("wherry").setLevel(level)


class _KeptLines(RotatingFileHandler):
    """The files of the log; what cannot be written there is on standard error all the same."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        """A full disk is no news with each line."""


@contextmanager
def kept_in(directory: Path) -> Iterator[None]:
    """Write the same lines to files in an agent's state directory, too: the last ones are in every support bundle."""
    folder = kept_file.private_folder(directory / "log")
    handler = _KeptLines(folder / _FILE, maxBytes=_FILE_BYTES, backupCount=_FILES - 1, delay=True)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        with contextlib.suppress(OSError):  # What a full disk has not taken.
            handler.close()


def kept(directory: Path) -> list[Path]:
    """The files that `kept_in` has filled, the newest first."""
    return sorted((directory / "log").glob(f"{_FILE}*"))


def tell(level: int, event: str, message: str, **fields: Any) -> None:
    """Write a line; `event` is a word for programs, `message` a sentence for people."""
    _log.log(level, "%s", message, extra={"event": event, "fields": fields})
