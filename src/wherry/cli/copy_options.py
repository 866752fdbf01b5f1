"""What `wherry copy` can be told: its own options as data, with those of a job and of every answer.

Imports no more than it must: `main` asks `read` before Typer is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.cli import arguments, job_options, output
from wherry.cli.arguments import Choice, Takes
from wherry.cli.job_options import PACE, THIS, WHAT
from wherry.cli.output import Format

TOLD = "What is told and written down"
ORDER = (*job_options.ORDER, TOLD, output.PANEL)
PLACE = "A folder, blob:URL of a container, s3:BUCKET or s3:URL of a bucket; the last three with /PREFIX or without."
OWN = (
    Choice(
        "manifest", ("--manifest",), Takes.TEXT,
        "Copy only the paths of this list, relative to SRC, by lines or zero bytes; a folder with a slash at its end "
        "means all in it; - is standard input.", WHAT, "FILE",
    ),
    Choice(
        "workers", ("--workers",), Takes.NUMBER,
        "Worker processes; by default one a processor; 0 does all in this process.", PACE, "NUMBER",
    ),
    Choice(
        "state", ("--state",), Takes.TEXT,
        "Keep the state here, so that an interrupted copy goes on where it was without looking at all again.", THIS,
        "FILE",
    ),
    Choice(
        "log", ("--log",), Takes.TEXT,
        "Write a row for each item: .jsonl, .parquet (needs wherry[parquet]), else tab-separated.", TOLD, "FILE",
    ),
    Choice(
        "report", ("--report",), Takes.TEXT,
        "Write what was asked for and what came of it, as JSON: times, counts, rates, codes, losses.", TOLD, "FILE",
    ),
    Choice("quiet", ("--quiet", "-q"), Takes.NOTHING, "Show no progress.", TOLD),
)  # fmt: skip
CHOICES = (*OWN, *job_options.CHOICES, *output.CHOICES)
COLUMNS = (
    ("Status", "status"),
    ("Items scanned", "items.Scanned"),
    ("Items transferred", "items.Transferred"),
    ("Bytes transferred", "bytes.Transferred"),
    ("Items not needed", "items.NoTransferNeeded"),
    ("Items excluded", "items.Excluded"),
    ("Items unsupported", "items.Unsupported"),
    ("Items failed", "items.Failed"),
    ("Items deleted", "items.Deleted"),
    ("Seconds", "seconds"),
    ("Warning", "warning"),
)
EXAMPLES = """Examples:

  wherry copy /data /backup/data
  wherry copy /data /backup/data --mode mirror --dry-run
  wherry copy /photos s3:archive/photos --include '*.raw' --newer-than 30d
  wherry copy /data blob:https://account.blob.core.windows.net/container \\
      --log copy.jsonl --report report.json
  find . -name '*.mkv' -print0 | wherry copy . /mnt/films --manifest -

Secrets come from the environment. For blob: WHERRY_BLOB_SAS. For s3:
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, and
AWS_ENDPOINT_URL_S3 for endpoints other than Amazon's. Certificate authorities
of your own: WHERRY_BLOB_CA_FILE, AWS_CA_BUNDLE.

Exit codes: 0 done, 2 asked for wrongly, 10 done but items failed, 11 failed,
130 interrupted. Run the same again and it goes on.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one copy was asked for.  `options` are those of a job, in the words of the API."""

    source: str
    target: str
    options: Mapping[str, Any]
    manifest: str | None = None
    workers: int | None = None
    state: Path | None = None
    log: Path | None = None
    report: Path | None = None
    quiet: bool = False


def asked(source: str, target: str, given: Mapping[str, Any]) -> Asked:
    """What the values of the options mean."""
    return Asked(
        source, target, job_options.told(given), given["manifest"], given["workers"], _path(given["state"]),
        _path(given["log"]), _path(given["report"]), quiet=bool(given["quiet"]),
    )  # fmt: skip


def read(given: Sequence[str]) -> tuple[Asked, Format | None, str | None] | None:
    """A plain command line: what was asked, and how the answer is shown; None when Typer has to look at it."""
    found = arguments.quickly(CHOICES, 2, given)
    if found is None:
        return None
    (source, target), values = found
    form = Format(values["output"]) if values["output"] else None
    return asked(source, target, values), form, values["query"]


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
