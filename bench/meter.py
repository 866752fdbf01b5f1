"""One run of a program, measured: wall clock, processor time of all its processes, and their memory at its highest.

Processor time is the kernel's account of the program and every descendant that was waited for. Memory is sampled from
/proc every 20 ms: the sum over all processes of their proportional share (PSS), so that pages that two processes
share count once. PSS is dear to read, so it is read only when the plain sum of resident pages reaches a new high.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.02
LONGEST = 3600.0
_GROWTH = 1.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """What a run took: seconds, bytes of memory, exit code and the end of what it printed."""

    wall: float
    user: float
    system: float
    memory: int
    resident: int
    code: int
    said: str

    @property
    def processor(self) -> float:
        return self.user + self.system


class MemorySampler:
    """Watches a process and its descendants until `stop`; `memory` (PSS) and `resident` are the highest sums seen.

    What runs for longer than `longest` seconds is killed.
    """

    def __init__(self, pid: int, longest: float = LONGEST, interval: float = INTERVAL) -> None:
        self.memory = self.resident = 0
        self._pid = pid
        self._interval = interval
        self._latest = time.monotonic() + longest
        self._over = threading.Event()
        self._looked_at = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            self.look()
            if time.monotonic() > self._latest:
                kill(self._pid)
            self._over.wait(self._interval)

    def look(self) -> None:
        """Take one sample."""
        pids = descendants(self._pid)
        resident = sum(_resident(pid) for pid in pids)
        self.resident = max(self.resident, resident)
        if resident > self._looked_at * _GROWTH:
            self._looked_at = resident
            self.memory = max(self.memory, sum(_proportional(pid) for pid in pids))


def descendants(pid: int) -> list[int]:
    """A process and all below it that are alive."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for thread in os.listdir(f"/proc/{one}/task"):
                waiting += map(int, Path(f"/proc/{one}/task/{thread}/children").read_bytes().split())
        except OSError:
            continue
    return found


def kill(pid: int) -> None:
    """End a process and all below it."""
    for one in descendants(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, IndexError):
        pass
    return 0


def run(
    command: list[str], scratch: Path, environment: dict[str, str] | None = None, longest: float = LONGEST
) -> Usage:
    """Run a program to its end, or kill it after `longest` seconds.

    What it prints goes to a file in `scratch`, so that no reader is needed.
    """
    said = scratch / "said"
    with said.open("wb") as out:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})}, cwd=scratch,
        )  # fmt: skip
        sampler = MemorySampler(process.pid, longest)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            kill(process.pid)
            raise
        finally:
            wall = time.perf_counter() - begun
            sampler.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    text = said.read_bytes()[-2000:].decode(errors="replace").strip()
    return Usage(
        wall, usage.ru_utime, usage.ru_stime, sampler.memory or sampler.resident, sampler.resident,
        process.returncode, text,
    )  # fmt: skip
