"""What a support bundle tells of the agent itself: how it was started, its runs, and what can be counted.

Called by `bundle`.
"""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from wherry import __version__
from wherry.agent import last_check, log_lines, own_runs
from wherry.agent.state import AgentState

_COUNTED = ("VmRSS", "VmHWM", "Threads", "FDSize", "voluntary_ctxt_switches")
_MOST_DEEDS = 5000


def parts(state: AgentState) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each file, and how to come by it."""
    yield "own/config.json", partial(_config, state)
    yield "own/journal.jsonl", partial(_journal, state)
    yield "own/metrics.json", partial(_metrics, state)
    checked = state.directory / last_check.FILE
    if checked.exists():
        yield f"own/{checked.name}", checked.read_text


def _config(state: AgentState) -> str:
    """How the agent was started; nothing secret is ever in its own options."""
    pid = state.holder("run")
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if pid else []
    told = {
        "version": __version__,
        "python": platform.python_version(),
        "directory": str(state.directory),
        "runs": pid is not None,
        "options": [word.decode(errors="backslashreplace") for word in words if word],
    }
    return json.dumps(told, indent=2) + "\n"


def _journal(state: AgentState) -> str:
    """What was done on runs, the last of it."""
    deeds = list(own_runs.deeds(state))[-_MOST_DEEDS:]
    return "".join(json.dumps(asdict(deed)) + "\n" for deed in deeds)


def _metrics(state: AgentState) -> str:
    """Events of the log by kind, the process, and the room that is left for it."""
    pid = state.holder("run")
    room = os.statvfs(state.directory)
    told: dict[str, Any] = {
        "events": dict(sorted(_events(state).items())),
        "process": _process(pid) if pid else None,
        "state": {"freeMB": room.f_bavail * room.f_frsize >> 20, "freeInodes": room.f_favail},
    }
    return json.dumps(told, indent=2) + "\n"


def _events(state: AgentState) -> Counter[str]:
    found: Counter[str] = Counter()
    for file in log_lines.kept(state.directory):
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                except ValueError:
                    continue
                if isinstance(told, dict):
                    found[f"{told.get('level', '')} {told.get('event', '')}"] += 1
    return found


def _process(pid: int) -> dict[str, Any]:
    folder = Path(f"/proc/{pid}")
    pairs = (line.partition(":") for line in (folder / "status").read_text().splitlines())
    told: dict[str, Any] = {name: value.strip() for name, _, value in pairs if name in _COUNTED}
    ticks = (folder / "stat").read_text().rpartition(") ")[2].split()
    told["cpuSeconds"] = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    return told
