"""Around an agent that may upgrade itself: starts the chosen program, and the one before it when the new one fails.

The process that its owner started stays the same through all upgrades and is all that has to be trusted to go back: it
waits for the agent, passes signals on, and gives a program on trial a stated time to reach the control plane.
Called by `wherry agent run --publisher`.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from wherry.agent.log_lines import tell
from wherry.agent.programs import MOST_STARTS, Choice, Programs
from wherry.agent.state import AgentState, InUse
from wherry.agent.upgrade import AGAIN_SECONDS

EXIT_UPGRADE = 75
"""An agent ends with it when another program is to take over."""
TRIAL_SECONDS = 180.0
SUPERVISED = "--supervised"

_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


def await_orphan(state: AgentState) -> None:
    """Wait for the end of an agent whose supervisor was killed; raises `InUse` when it does not end."""
    until = time.monotonic() + _STOP_SECONDS
    while True:
        try:
            with state.alone("run"):
                return
        except InUse:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_SECONDS)


@dataclass
class Supervisor:
    """Runs the agent of `programs` with `arguments` (those of `wherry`), one program after the other."""

    programs: Programs
    arguments: Sequence[str]
    trial_seconds: float = TRIAL_SECONDS
    clock: Callable[[], float] = time.time
    _child: subprocess.Popen[bytes] | None = None
    _asked: int = 0

    def run(self) -> int:
        """Until the agent ends by itself or by a signal; what it ended with."""
        before = {number: signal.signal(number, self._pass_on) for number in _SIGNALS}
        try:
            while True:
                choice = self._begin()
                code = self._attend(choice)
                if self._asked:
                    return code
                if self._on_trial(choice):
                    self._take_back(choice, f"it ended ({code}) before it had reached the control plane")
                elif code != EXIT_UPGRADE:
                    return code
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _begin(self) -> Choice:
        """What is to run now; a program on trial is started a few times, in case the machine was switched off."""
        choice = self.programs.started()
        if choice.trial and choice.starts > MOST_STARTS:
            self._take_back(choice, "it was started again and again")
            choice = self.programs.choice
        return choice

    def _attend(self, choice: Choice) -> int:
        """Run a program to its end, which comes soon if it is on trial and does not pass."""
        self._child = child = self._start(self.programs.path(choice.version))
        if self._asked:
            child.send_signal(self._asked)
        try:
            if not choice.trial:
                return child.wait()
            try:
                return child.wait(self.trial_seconds)
            except subprocess.TimeoutExpired:
                return self._end(child) if self._on_trial(choice) else child.wait()
        finally:
            self._child = None

    def _start(self, tree: Path | None) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        if tree is not None:
            environment["PYTHONPATH"] = os.pathsep.join(
                [str(tree), *filter(None, [environment.get("PYTHONPATH")])]
            )
        libc = ctypes.CDLL(None)
        return subprocess.Popen(
            # Nothing from the folder that we happen to be in.
            [sys.executable, "-P", "-m", "wherry.cli.main", *self.arguments, SUPERVISED],
            env=environment,
            # No thread of ours runs that could hold a lock.
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509
        )

    def _end(self, child: subprocess.Popen[bytes]) -> int:
        child.terminate()
        try:
            return child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def _on_trial(self, choice: Choice) -> bool:
        """Whether the program that was chosen then is still to pass."""
        now = self.programs.choice
        return choice.trial and now.trial and now.version == choice.version

    def _take_back(self, choice: Choice, why: str) -> None:
        self.programs.take_back("AZSM0004", why, self.clock() + AGAIN_SECONDS)
        tell(
            logging.ERROR,
            "upgrade.failed",
            f"Version {choice.version} is taken back: {why}.",
            version=choice.version,
            code="AZSM0004",
        )

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._asked = number
        if self._child is not None:
            self._child.send_signal(number)
