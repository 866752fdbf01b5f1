"""The programs that the machine's service runs: by their names, with arguments of their own, never through a shell.

`Commands` is the port; `System` is this machine, tests bring others.  Called by `settings`.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import Protocol

from wherry.model.errors import WherryError

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 30.0


class CommandFailed(WherryError):
    """A program of the system did not do what it was asked for."""


class Commands(Protocol):
    """Programs of the system."""

    def has(self, program: str) -> bool:
        """Whether there is such a program."""

    def run(self, *argv: str) -> None:
        """Let a program work to its end; raises `CommandFailed` with what it says."""


class System:
    """The programs of this machine."""

    def has(self, program: str) -> bool:
        return shutil.which(program, path=_PATH) is not None

    def run(self, *argv: str) -> None:
        program = shutil.which(argv[0], path=_PATH)
        if program is None:
            raise CommandFailed(f"This machine has no program {argv[0]}. Install it.")
        try:
            done = subprocess.run(
                [program, *argv[1:]],
                env={"PATH": _PATH, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise CommandFailed(f"{' '.join(argv)} did not end in {_SECONDS:.0f} seconds.") from late
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise CommandFailed(f"{' '.join(argv)}: {said[-1] if said else f'exit {done.returncode}'}")
