"""Following a run of the control plane: to its end, or for one look.  Called by `run`, `job` and `demo`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from wherry.cli import exits
from wherry.cli.exits import Exit
from wherry.cli.live import Moment, Screen
from wherry.cli.output import show, tell
from wherry.cli.run import COLUMNS
from wherry.model.outcomes import COUNTERS
from wherry.model.run import TERMINAL, RunStatus

if TYPE_CHECKING:
    from wherry.client.rest import ResourceClient

    Json = dict[str, Any]

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 600.0


def follow(api: ResourceClient, run: str) -> int:
    """Watch a run to its end and show what it came to; the exit code that its end has."""
    try:
        found = to_its_end(api, run)
    except KeyboardInterrupt:
        _, _, job = run.partition("/jobDefinitions/")
        tell(
            "No longer watching. The run goes on: `wherry run watch` watches it again, "
            f"`wherry job stop --name {job.partition('/')[0]}` stops it."
        )
        return int(Exit.INTERRUPTED)
    show(found, COLUMNS)
    return code_of(found)


def once(api: ResourceClient, run: str) -> int:
    """Show how a run stands; the exit code of its end, 0 while it goes on."""
    found = api.get(run)
    show(found, COLUMNS)
    return code_of(found) if found["properties"]["status"] in TERMINAL else 0


def to_its_end(api: ResourceClient, run: str, *, quiet: bool = False) -> Json:
    """The run when it has ended; a control plane that is away for a while is waited for."""
    from wherry.client.connection import Unreachable

    expected = _expected(api, run)
    found: Json = {}
    answered_at, note = time.monotonic(), ""
    with Screen(run.rpartition("/jobRuns/")[2], quiet=quiet) as screen:
        while True:
            try:
                found = api.get(run)
                answered_at, note = time.monotonic(), ""
            except Unreachable as trouble:
                if time.monotonic() - answered_at > PATIENCE_SECONDS:
                    raise
                note = str(trouble)
            if found:
                screen.show(moment_of(found["properties"], expected, note))
                if not note and found["properties"]["status"] in TERMINAL:
                    return found
            time.sleep(POLL_SECONDS)


def moment_of(properties: Json, expected: int = 0, note: str = "") -> Moment:
    """How a run stands, out of its properties."""
    told = {**properties, **(properties.get("wherry") or {})}
    scanned_all = properties.get("scanStatus") == "Completed"
    counts = {name: int(told.get(f"items{name}") or 0) for name in COUNTERS}
    return Moment(
        status=str(properties["status"]),
        items=counts,
        bytes={name: int(told.get(f"bytes{name}") or 0) for name in COUNTERS},
        expected=counts["Scanned"] if scanned_all else max(expected, counts["Scanned"]) if expected else 0,
        note=note,
    )


def code_of(run: Json) -> int:
    """The exit code of a run that has ended."""
    error = run["properties"].get("error") or {}
    return int(exits.of_end(run["properties"]["status"], error.get("code", "")))


def _expected(api: ResourceClient, run: str) -> int:
    """How many items the job's last whole run had: the best guess for this one."""
    runs = run.rpartition("/")[0]
    for known in api.list(runs):
        properties = known["properties"]
        if properties["status"] == RunStatus.SUCCEEDED and known["id"].lower() != run.lower():
            return int(properties.get("itemsScanned") or 0)
    return 0
