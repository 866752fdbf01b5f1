"""Following a run of the control plane: to its end, or for one look.  Called by `run`, `job` and `demo`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wherry.cli import exits
from wherry.cli.exits import Exit
from wherry.cli.live import Moment, Screen
from wherry.cli.output import Ended, tell
from wherry.model.outcomes import COUNTERS
from wherry.model.run import TERMINAL, RunStatus

if TYPE_CHECKING:
    from wherry.client.rest import ResourceClient

Json = dict[str, Any]

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 600.0


def follow(api: ResourceClient, run: str) -> Ended:
    """Watch a run to its end: what it came to, with the exit code of that."""
    try:
        found = to_its_end(api, run)
    except KeyboardInterrupt:
        _, _, job = run.partition("/jobDefinitions/")
        tell(
            "No longer watching. The run goes on: `wherry run watch` watches it again, "
            f"`wherry job stop --name {job.partition('/')[0]}` stops it."
        )
        return Ended(None, Exit.INTERRUPTED)
    return Ended(found, code_of(found))


def once(api: ResourceClient, run: str) -> Ended:
    """How a run stands, with the exit code of its end, 0 while it goes on."""
    found = api.get(run)
    return Ended(found, code_of(found) if found["properties"]["status"] in TERMINAL else 0)


def to_its_end(
    api: ResourceClient,
    run: str,
    *,
    title: str = "",
    each: Callable[[Json], None] = lambda _: None,
    every: float = POLL_SECONDS,
) -> Json:
    """The run when it has ended; a control plane that is away for a while is waited for.

    `each` is told the properties of the run whenever they were asked for.
    """
    from wherry.client.connection import Unreachable

    expected = _expected(api, run)
    found: Json = {}
    answered_at, note = time.monotonic(), ""
    with Screen(title or run.rpartition("/jobRuns/")[2]) as screen:
        while True:
            try:
                found = api.get(run)
                answered_at, note = time.monotonic(), ""
                each(found["properties"])
            except Unreachable as trouble:
                if time.monotonic() - answered_at > PATIENCE_SECONDS:
                    raise
                note = str(trouble)
            if found:
                screen.show(moment_of(found["properties"], expected, note))
                if not note and found["properties"]["status"] in TERMINAL:
                    return found
            time.sleep(every)


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


def code_of(run: Json) -> Exit:
    """The exit code of a run that has ended."""
    error = run["properties"].get("error") or {}
    return exits.of_end(run["properties"]["status"], error.get("code", ""))


def _expected(api: ResourceClient, run: str) -> int:
    """How many items the job's last whole run had: the best guess for this one."""
    runs = run.rpartition("/")[0]
    for known in api.list(runs):
        properties = known["properties"]
        if properties["status"] == RunStatus.SUCCEEDED and known["id"].lower() != run.lower():
            return int(properties.get("itemsScanned") or 0)
    return 0
