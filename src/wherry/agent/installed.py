"""Programs of this system, started by the agent with a fixed command line: no shell, no input, no environment of ours.

What they say comes back as text, cut at a size; whoever takes too long is ended with all that it has started.  Called
by the checks of shares.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from wherry.model.errors import UsageError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_BYTES = 256 * 1024
_MOST_WRITTEN = 16 * _MOST_BYTES


@dataclass(frozen=True, slots=True)
class Said:
    """What a program ended with, and what it wrote, to both places."""

    code: int
    text: str

    @property
    def last_line(self) -> str:
        """Where programs say what was wrong."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def place(program: str, package: str) -> str:
    """The path of a program; raises `UsageError` with the package that brings it."""
    found = shutil.which(program, path=_PATH)
    if found is None:
        raise UsageError(
            f"The program {program} is not installed on this machine. Install the package {package}."
        )
    return found


def run(command: Sequence[str], seconds: float) -> Said:
    """Run a program to its end; raises `UsageError` when that takes longer than `seconds`."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # Neither a pager nor a configuration of anybody's own.
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"},
            cwd="/",
            start_new_session=True,
        )
        try:
            # What it writes may be what a server tells it, without an end.
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_MOST_WRITTEN, _MOST_WRITTEN))
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise UsageError(f"No answer within {seconds:.0f} s.") from None
        finally:
            _end(process)
        out.seek(0)
        return Said(code, out.read(_MOST_BYTES).decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of its session behind."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
