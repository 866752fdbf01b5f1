"""The life of a job run: its states, what moves it from one to the next, and how it ends.

    Queued → Started → Running → Succeeded | Failed
       └────────┴─────────┴──→ CancelRequested → Canceling → Canceled

`Started` when an agent holds the first lease, `Running` from the first commit.  A stop of a run that nobody
works on is Canceled at once.  Called by the control plane's run service; the ledger decides when work is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from wherry.model.errors import CODES
from wherry.model.options import JobOptions
from wherry.model.outcomes import Counters


class RunStatus(StrEnum):
    """The states of a run, in the words of the API."""

    QUEUED = "Queued"
    STARTED = "Started"
    RUNNING = "Running"
    CANCEL_REQUESTED = "CancelRequested"
    CANCELING = "Canceling"
    CANCELED = "Canceled"
    FAILED = "Failed"
    SUCCEEDED = "Succeeded"
    PAUSED = "PausedByBandwidthManagement"


TERMINAL = frozenset({RunStatus.CANCELED, RunStatus.FAILED, RunStatus.SUCCEEDED})
STOPPING = frozenset({RunStatus.CANCEL_REQUESTED, RunStatus.CANCELING})


class ScanStatus(StrEnum):
    """How far the walk over the source is."""

    NOT_STARTED = "NotStarted"
    SCANNING = "Scanning"
    COMPLETED = "Completed"


class Event(Enum):
    """What happens to a run from outside."""

    LEASED = "an agent took work"
    COMMITTED = "work was committed"
    STOP = "somebody asked to stop"
    HEARD = "an agent was told to stop"


_MOVES = {
    (RunStatus.QUEUED, Event.LEASED): RunStatus.STARTED,
    (RunStatus.STARTED, Event.COMMITTED): RunStatus.RUNNING,
    (RunStatus.QUEUED, Event.COMMITTED): RunStatus.RUNNING,
    (RunStatus.QUEUED, Event.STOP): RunStatus.CANCEL_REQUESTED,
    (RunStatus.STARTED, Event.STOP): RunStatus.CANCEL_REQUESTED,
    (RunStatus.RUNNING, Event.STOP): RunStatus.CANCEL_REQUESTED,
    (RunStatus.PAUSED, Event.STOP): RunStatus.CANCEL_REQUESTED,
    (RunStatus.CANCEL_REQUESTED, Event.HEARD): RunStatus.CANCELING,
}


def move(status: RunStatus, event: Event) -> RunStatus:
    """The state after an event; events that mean nothing in a state leave it as it is."""
    return _MOVES.get((status, event), status)


@dataclass(frozen=True, slots=True)
class End:
    """How a run ends: its last state with the error or the warning that explains it."""

    status: RunStatus
    code: str = ""
    message: str = ""
    warning: str = ""


def end(counters: Counters, error: str | None) -> End:
    """The end of a run whose work is over.  `error` is a run code that was noted on the way."""
    if error is not None:
        return failed(error)
    failures = counters.items.get("Failed", 0)
    if failures:
        noun = "item" if failures == 1 else "items"
        return End(RunStatus.FAILED, "AZSM1046", f"{failures} {noun} failed, the rest is copied.")
    unsupported = counters.items.get("Unsupported", 0)
    if unsupported:
        noun = "item is" if unsupported == 1 else "items are"
        return End(
            RunStatus.SUCCEEDED,
            warning=f"{unsupported} {noun} of a kind or name that the target cannot hold.",
        )
    return End(RunStatus.SUCCEEDED)


def failed(code: str, detail: str = "") -> End:
    """A run that ends Failed with a code of the table."""
    return End(RunStatus.FAILED, code, f"{CODES[code].message} {detail}".strip())


def delete_gate(counters: Counters, candidates: int, options: JobOptions) -> str | None:
    """The run code that forbids the delete phase, or None.  Asked once, before anything is deleted."""
    if not candidates:
        return None
    scanned = counters.items.get("Scanned", 0)
    if not scanned and not options.allow_empty_source:
        return "AZSM1006"
    return "AZSM1034" if candidates > options.allowed_deletes(scanned) else None
