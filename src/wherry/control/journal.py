"""The log of the control plane: one JSON object a line on standard error.

Only fields that are named here are written, so that nothing secret gets in by way of an object's attributes; URLs are
never logged with their query.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from wherry.model.errors import UsageError

LEVELS = ("debug", "info", "warning", "error")

_FIELDS = ("request_id", "reason", "run", "agent", "partition", "resource", "duration")


class JsonLines(logging.Formatter):
    """A record as a line of JSON: time, level, logger, message, known fields, the trace of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if getattr(record, name, "")}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def start(level: str) -> None:
    """Send all logging of this process to standard error, from `level` on; `UsageError` for an unknown level."""
    if level not in LEVELS:
        raise UsageError(f"Unknown log level '{level}'; known are {', '.join(LEVELS)}.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell forms, headers, statements and URLs with their queries at lower levels.
    root.setLevel(max(logging.getLevelNamesMapping()[level.upper()], logging.WARNING))
    logging.getLogger("wherry").setLevel(level.upper())
