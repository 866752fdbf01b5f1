"""The life of a run: which states follow which, and how it ends."""

from __future__ import annotations

import pytest

from wherry.model.errors import CODES
from wherry.model.options import JobOptions
from wherry.model.outcomes import Counters
from wherry.model.run import STOPPING, TERMINAL, Event, RunStatus, delete_gate, end, failed, move


@pytest.mark.parametrize(
    ("status", "event", "after"),
    [
        (RunStatus.QUEUED, Event.LEASED, RunStatus.STARTED),
        (RunStatus.STARTED, Event.COMMITTED, RunStatus.RUNNING),
        (RunStatus.STARTED, Event.LEASED, RunStatus.STARTED),
        (RunStatus.RUNNING, Event.COMMITTED, RunStatus.RUNNING),
        (RunStatus.QUEUED, Event.STOP, RunStatus.CANCEL_REQUESTED),
        (RunStatus.STARTED, Event.STOP, RunStatus.CANCEL_REQUESTED),
        (RunStatus.RUNNING, Event.STOP, RunStatus.CANCEL_REQUESTED),
        (RunStatus.PAUSED, Event.STOP, RunStatus.CANCEL_REQUESTED),
        (RunStatus.CANCEL_REQUESTED, Event.STOP, RunStatus.CANCEL_REQUESTED),
        (RunStatus.CANCEL_REQUESTED, Event.HEARD, RunStatus.CANCELING),
        (RunStatus.CANCEL_REQUESTED, Event.COMMITTED, RunStatus.CANCEL_REQUESTED),
        (RunStatus.CANCELING, Event.LEASED, RunStatus.CANCELING),
    ],
)
def test_moves(status: RunStatus, event: Event, after: RunStatus) -> None:
    assert move(status, event) is after


@pytest.mark.parametrize("status", sorted(TERMINAL))
@pytest.mark.parametrize("event", Event)
def test_an_end_is_an_end(status: RunStatus, event: Event) -> None:
    assert move(status, event) is status


@pytest.mark.parametrize("event", [Event.LEASED, Event.COMMITTED])
@pytest.mark.parametrize("status", sorted(STOPPING))
def test_a_run_that_stops_never_runs_again(status: RunStatus, event: Event) -> None:
    assert move(status, event) in STOPPING


def counted(**items: int) -> Counters:
    return Counters(dict(items), {})


@pytest.mark.parametrize(
    ("counters", "error", "status", "code"),
    [
        (counted(), None, RunStatus.SUCCEEDED, ""),
        (counted(Scanned=2, Transferred=2), None, RunStatus.SUCCEEDED, ""),
        (counted(Unsupported=1), None, RunStatus.SUCCEEDED, ""),
        (counted(Failed=1), None, RunStatus.FAILED, "AZSM1046"),
        (counted(Failed=1, Unsupported=1), None, RunStatus.FAILED, "AZSM1046"),
        (counted(), "AZSM1005", RunStatus.FAILED, "AZSM1005"),
        (counted(Failed=1), "AZSM1005", RunStatus.FAILED, "AZSM1005"),
    ],
)
def test_ends(counters: Counters, error: str | None, status: RunStatus, code: str) -> None:
    ended = end(counters, error)

    assert (ended.status, ended.code) == (status, code)
    assert ended.message if code else not ended.message


def test_an_end_says_how_many() -> None:
    assert end(counted(Failed=1), None).message == "1 item failed, the rest is copied."
    assert end(counted(Failed=2), None).message == "2 items failed, the rest is copied."
    assert end(counted(Unsupported=2), None).warning.startswith("2 items are")
    assert failed("AZSM1042", "24 h.").message == f"{CODES['AZSM1042'].message} 24 h."


@pytest.mark.parametrize(
    ("scanned", "candidates", "options", "code"),
    [
        (0, 0, JobOptions(), None),
        (5, 5, JobOptions(), None),
        (0, 1, JobOptions(), "AZSM1006"),
        (0, 1, JobOptions(allow_empty_source=True), None),
        (10, 1000, JobOptions(), None),
        (10, 1001, JobOptions(), "AZSM1034"),
        (10_000, 2000, JobOptions(), None),
        (10_000, 2001, JobOptions(), "AZSM1034"),
        (10, 3, JobOptions(max_delete=2), "AZSM1034"),
        (0, 1001, JobOptions(allow_empty_source=True), "AZSM1034"),
    ],
)
def test_the_gate_before_the_first_deletion(
    scanned: int, candidates: int, options: JobOptions, code: str | None
) -> None:
    assert delete_gate(counted(Scanned=scanned), candidates, options) == code
