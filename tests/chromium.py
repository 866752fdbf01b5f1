"""Chromium without a window, spoken to through its debugging pipe: what a browser does with our pages, for real."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

LIMIT = 90.0
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


class Tab:
    """One page; every step waits for what it causes."""

    def __init__(self, orders: Any, answers: Any) -> None:
        self._orders = orders
        self._answers = answers
        self._count = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "WebAuthn"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, to its answer."""
        self._count += 1
        order = {"id": self._count, "method": method, "params": params}
        if self._session:
            order["sessionId"] = self._session
        self._orders.write(json.dumps(order).encode() + b"\0")
        while (told := self._next()).get("id") != self._count:
            self.events.append(told)
        assert "error" not in told, told
        return dict(told["result"])

    def open(self, url: str) -> None:
        with self._loading():
            self.ask("Page.navigate", url=url)

    def click(self, selector: str) -> None:
        """Click what leads to another page, and wait for that."""
        with self._loading():
            self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            self.run(f"document.getElementById({json.dumps(name)}).value = {json.dumps(value)}")

    def text(self) -> str:
        return str(self.run("document.querySelector('main').innerText"))

    def run(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def troubles(self) -> list[str]:
        """What the browser complained about: policies that were violated, scripts that failed."""
        bad = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(one["params"]) for one in self.events if one.get("method") in bad]

    @contextmanager
    def _loading(self) -> Iterator[None]:
        seen = len(self.events)
        yield
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events[seen:]):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\0"):
            read = self._answers.read(1)
            assert read, "the browser has ended"
            line += read
        return dict(json.loads(line[:-1]))


@contextmanager
def chromium(program: str, spki: str) -> Iterator[Tab]:
    """A browser that trusts the certificate with this key (SHA-256, base64), with a folder of its own."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        orders = stack.enter_context(os.fdopen(ours_out, "wb", buffering=0))
        answers = stack.enter_context(os.fdopen(ours_in, "rb"))
        # The shell puts the two ends where the browser looks for them.
        line = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = [
            program,
            *_OPTIONS,
            f"--user-data-dir={folder}",
            f"--ignore-certificate-errors-spki-list={spki}",
        ]
        process = subprocess.Popen(
            ["bash", "-c", line, "bash", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, pass_fds=(theirs_in, theirs_out), env={**os.environ, "HOME": folder},
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Tab(orders, answers)
        finally:
            process.terminate()
            try:
                process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
