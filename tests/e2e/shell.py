"""The programs as a person uses them: processes, one environment, codes approved on the control plane's machine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from wherry.cli import main
from wherry.control import breakglass, environment

PROGRAM = (sys.executable, "-m", "wherry.cli.main")
CODE = re.compile(r"enter the code ([A-Z0-9-]+)")
LIMIT = 60.0


@dataclass(frozen=True)
class Answer:
    """What a program printed and ended with."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """A person's terminal: a folder, an environment, and the processes that were started in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WHERRY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        own = {"WHERRY_CONFIG_DIR": str(self.folder / "config"), "PATH": path}
        self.environment = {**kept, **own, **self.environment}

    @property
    def state(self) -> Path:
        """Where the control plane of this person is kept."""
        return self.folder / "plane"

    def run(self, *arguments: str, code: int = 0, **more: str) -> Answer:
        """Run a command to its expected end; in this process, as most of its time would be its start."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {**self.environment, **more}, clear=True),
            mock.patch.object(sys, "stdin", io.StringIO()),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            ended = main.call(list(arguments))
        answer = Answer(ended, out.getvalue(), err.getvalue())
        assert ended == code, f"{arguments}: {answer}"
        assert "Traceback" not in answer.err
        return answer

    def process(self, *arguments: str, code: int = 0, **more: str) -> Answer:
        """The same as a process of its own."""
        done = subprocess.run(
            [*PROGRAM, *arguments], cwd=self.folder, env={**self.environment, **more}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: str, name: str = "process") -> Iterator[Started]:
        """A command that goes on while the block runs; SIGTERM ends it."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*PROGRAM, *arguments], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        started = Started(process, log)
        try:
            yield started
        finally:
            started.end()

    @contextmanager
    def serving(self) -> Iterator[Started]:
        """A control plane of one's own on a free port, known to all further commands."""
        options = ("--state", str(self.state), "--listen", "127.0.0.1:0", "--log-level", "warning")
        with self.started("serve", *options, name="serve") as plane:
            plane.wait_for(r'"ready": true')
            self.environment |= environment.variables(self.state)
            yield plane

    def approved(self, *arguments: str, name: str) -> Started:
        """Run a command that shows a code to its end, and approve that code meanwhile."""
        with self.started(*arguments, name=name) as asking:
            breakglass.approve(self.state, asking.wait_for(CODE.pattern)[1])
            assert asking.process.wait(LIMIT) == 0, asking.printed
        return asking


@dataclass
class Started:
    """A process that goes on."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str, seconds: float = LIMIT) -> re.Match[str]:
        """Wait until it has printed something."""
        return until(lambda: re.search(pattern, self.printed), seconds, lambda: self.printed)

    def end(self, number: int = signal.SIGTERM, seconds: float = LIMIT) -> int:
        """Send a signal; the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end: {self.printed}") from None


def until(check: Callable[[], Any], seconds: float = LIMIT, told: Callable[[], str] = str) -> Any:
    """What `check` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"it did not come to that in time: {told()}"
        time.sleep(0.05)
    return found
