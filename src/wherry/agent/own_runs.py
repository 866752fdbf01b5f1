"""What an agent knows of runs by itself, without the control plane: what its own log tells of leases on them.

The log is kept in the state directory (`log_lines`) and is bounded, so that this goes back some days, not for ever.
Called by the admin shell while the control plane cannot be reached.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wherry.agent import log_lines
from wherry.agent.state import AgentState

_BEGIN, _END = "lease.begin", ("lease.done", "lease.release", "lease.lost", "lease.refused")


@dataclass(frozen=True, slots=True)
class Deed:
    """A line of the log about a lease: when, on which part of which run, what happened."""

    time: str
    run: str
    part: str
    event: str
    message: str


@dataclass
class OwnRun:
    """A run that this agent has worked on; `held` are the parts that it holds by its own knowledge."""

    run: str
    first: str
    last: Deed
    held: frozenset[str] = frozenset()


def deeds(state: AgentState, run: str = "") -> Iterator[Deed]:
    """What the log tells of leases, on one run or on all, the oldest first."""
    for file in reversed(log_lines.kept(state.directory)):
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                found = _deed(line)
                if found is not None and run in ("", found.run):
                    yield found


def runs(state: AgentState) -> list[OwnRun]:
    """The runs that this agent has worked on, the one that it worked on last in front."""
    found: dict[str, OwnRun] = {}
    for deed in deeds(state):
        known = found.setdefault(deed.run, OwnRun(deed.run, deed.time, deed))
        known.last = deed
        if deed.event == _BEGIN:
            known.held |= {deed.part}
        elif deed.event in _END:
            known.held -= {deed.part}
    if state.holder("run") is None:
        # Nobody is there to hold anything; what a killed agent held is not in its log.
        for one in found.values():
            one.held = frozenset()
    return sorted(found.values(), key=lambda one: one.last.time, reverse=True)


def _deed(line: str) -> Deed | None:
    if '"lease.' not in line:
        return None
    try:
        told: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(told, dict) or not str(told.get("event", "")).startswith("lease."):
        return None
    time, run, part, event = (str(told.get(name) or "") for name in ("time", "run", "partition", "event"))
    more = " ".join(str(told[name]) for name in ("code", "detail") if told.get(name))
    return Deed(time, run, part, event, f"{told.get('message', '')} {more}".strip())
