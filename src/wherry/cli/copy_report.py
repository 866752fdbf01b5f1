"""The report of a copy as a file: what was asked for and what came of it, as one JSON document, without secrets.

It is written beside its name and renamed at the end, so that a file of that name is always whole; that it can be
written is seen before anything is copied.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from wherry import __version__
from wherry.cli import copy_places
from wherry.cli.copy_options import Asked
from wherry.model.errors import CODES
from wherry.model.options import JobOptions
from wherry.model.outcomes import iso_time
from wherry.model.run import RunStatus
from wherry.model.text import json_safe
from wherry.stores.port import StoreSpec

Json = dict[str, Any]


@contextmanager
def opened(file: Path) -> Iterator[TextIO]:
    """Where the report is written; it takes its name when the block ends well and something was written."""
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        made = beside.open("x", encoding="utf-8")
    except OSError as refused:
        raise OSError(refused.errno, refused.strerror, str(file)) from refused
    with made as out:
        try:
            yield out
            out.flush()
            if out.tell():
                os.replace(beside, file)
        finally:
            beside.unlink(missing_ok=True)


def earlier(file: Path, asked: Json) -> tuple[int, int]:
    """Items and bytes that the source had when the same was asked for before, as the report of that time tells."""
    try:
        report = json.loads(file.read_text())
        if report["asked"] == asked and report["status"] == RunStatus.SUCCEEDED:
            return int(report["items"]["Scanned"]), int(report["bytes"]["Scanned"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # None there, or another program's: then nobody knows.
    return 0, 0


def asked_for(
    asked: Asked, source: StoreSpec, target: StoreSpec, options: JobOptions, paths: int | None
) -> Json:
    """What was asked for; `paths` is how many the manifest has."""
    told: Json = {
        "source": copy_places.told(source),
        "target": copy_places.told(target),
        "options": options.to_json(),
    }
    if asked.manifest is not None:
        told["manifest"] = {"file": asked.manifest, "paths": paths}
    if asked.workers is not None:
        told["workers"] = asked.workers
    return told | {
        name: str(value) for name in ("state", "log") if (value := getattr(asked, name)) is not None
    }


def document(asked: Json, told: Json, codes: Mapping[str, int], begun: float, ended: float) -> Json:
    """The report; `told` is the answer of the command."""
    seconds = max(told["seconds"], 0.001)
    done = sum(count for name, count in told["items"].items() if name not in ("Scanned", "Deleted"))
    return {
        "wherry": __version__,
        "asked": asked,
        "started": iso_time(begun),
        "ended": iso_time(ended),
        **told,
        "rates": {
            "itemsPerSecond": round(done / seconds, 1),
            "bytesPerSecond": round(told["bytes"].get("Transferred", 0) / seconds, 1),
        },
        "codes": [_code(code, count) for code, count in sorted(codes.items())],
    }


def write(out: TextIO, report: Json) -> None:
    """Write the document."""
    out.write(json_safe(json.dumps(report, indent=2, ensure_ascii=False)) + "\n")


def _code(code: str, count: int) -> Json:
    row = CODES.get(code)
    return {"code": code, "count": count} | ({"message": row.message, "remedy": row.remedy} if row else {})
