"""The processes of the demo: a Blob server, a control plane, an agent, each with a log of its own.

Each is the leader of a process group, so that Ctrl-C reaches the demo alone, which then ends them in order, by their
ids.  Should the demo be killed, the kernel ends them.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wherry.model.errors import WherryError

START_SECONDS = 60.0
STOP_SECONDS = 20.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IN_MEMORY_LIMIT = 512 * 1024 * 1024
WHERRY = (sys.executable, "-m", "wherry.cli.main")
_POLL = 0.05
_TAIL = 2000
_PR_SET_PDEATHSIG = 1
Mask = set[int | signal.Signals]


class ServerFailed(WherryError):
    """A process of the demo did not do what it is there for."""


class Process:
    """One process, with `mask` for its signals; everything that it prints is in `log`."""

    def __init__(
        self, name: str, arguments: tuple[str, ...], log: Path, more: Mapping[str, str] | None, mask: Mask
    ) -> None:
        self.name = name
        self.log = log
        libc = ctypes.CDLL(None)

        def end_with_us() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env={**_environment(), **(more or {})},
                start_new_session=True,
                # No thread of ours runs yet that could hold a lock.
                preexec_fn=end_with_us,  # noqa: PLW1509
            )

    def wait_for(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """Wait until it prints something; `ServerFailed` when it ends before, or never does."""
        deadline = time.monotonic() + seconds
        while True:
            ended = self._popen.poll() is not None
            printed = self.log.read_text(errors="replace")
            if found := re.search(pattern, printed):
                return found
            if ended or time.monotonic() > deadline:
                raise ServerFailed(f"The {self.name} did not start. It printed: {printed[-_TAIL:].strip()}")
            time.sleep(_POLL)

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Wait until it ends well."""
        try:
            code = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"The {self.name} does not end.") from None
        if code:
            printed = self.log.read_text(errors="replace")[-_TAIL:].strip()
            raise ServerFailed(f"The {self.name} ended with {code}. It printed: {printed}")

    def end(self) -> None:
        """End it in good order, by force if that takes too long."""
        if self._popen.poll() is not None:
            return
        self._popen.terminate()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()


@dataclass(frozen=True)
class BlobServer:
    """A running Azurite with an account of the demo's own."""

    endpoint: str
    account: str
    key: str = field(repr=False)


@dataclass
class Servers:
    """All processes of one demo, with their state in `folder`.  Ended in reverse order of their start."""

    folder: Path
    running: list[Process] = field(default_factory=list)

    def start(self, name: str, *arguments: str, more: Mapping[str, str] | None = None) -> Process:
        log = self.folder / f"{name.replace(' ', '-')}.log"
        with _undisturbed() as before:
            process = Process(name, arguments, log, more, before)
            self.running.append(process)
        return process

    def end(self) -> None:
        """End all of them; Ctrl-C does not keep this from being done."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        while self.running:
            self.running.pop().end()

    def blob_server(self, program: Path, expected_bytes: int) -> BlobServer:
        """Start Azurite on a free port; small trees are kept in memory, others in the demo's folder."""
        account, key = "wherrydemo", base64.b64encode(secrets.token_bytes(32)).decode()
        where = (
            ["--inMemoryPersistence"]
            if expected_bytes < IN_MEMORY_LIMIT
            else ["-l", str(self.folder / "blobs")]
        )
        fixed = ("--blobHost", "127.0.0.1", "--blobPort", "0", "--silent", "--disableTelemetry")
        process = self.start(
            "Blob server", str(program), *fixed, "--skipApiVersionCheck", *where,
            more={"AZURITE_ACCOUNTS": f"{account}:{key}"},
        )  # fmt: skip
        found = process.wait_for(r"successfully listens on (http://127\.0\.0\.1:\d+)")
        return BlobServer(f"{found[1]}/{account}", account, key)

    def control_plane(self, state: Path) -> str:
        """Start a control plane on a free port; its URL."""
        arguments = ("--state", str(state), "--listen", "127.0.0.1:0", "--log-level", "warning")
        process = self.start("control plane", *WHERRY, "serve", *arguments)
        return str(json.loads(process.wait_for(r'\{"ready".*\}')[0])["url"])

    def agent(self, state: Path, source: Path, target: Path | None) -> Process:
        """Start the agent that may read `source`, and write `target` where that is a folder."""
        roots = ["--allow-source", str(source)] + (["--allow-target", str(target)] if target else [])
        return self.start("agent", *WHERRY, "agent", "run", "--state", str(state), *roots)


@contextlib.contextmanager
def _undisturbed() -> Iterator[Mask]:
    """No signal comes until a process is made and noted: it could be lost, or the process with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment() -> dict[str, str]:
    """The environment, but for settings of the person's own deployment; Python writes nothing into the source."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WHERRY_")}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}
