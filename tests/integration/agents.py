"""An administrator with our own client and agents with our own daemon, against a served control plane."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.served import Served
from wherry.agent.daemon import Options, run
from wherry.agent.register import Step, Wanted, register
from wherry.agent.state import AgentState
from wherry.client.device_code import DeviceCode
from wherry.client.login import SignIn
from wherry.client.profile import Profile
from wherry.client.rest import ResourceClient
from wherry.control import breakglass
from wherry.trust.authority import fingerprint

GROUP = "agents"
LOCATION = {"location": "westeurope"}


class Administrator:
    """The first administrator, signed in with our own client."""

    def __init__(self, served: Served, config: Path) -> None:
        self.served = served
        self.profile = Profile.from_environment(served.env)
        self.sign_in = SignIn(self.profile, config)
        self.sign_in.sign_in(self._approve)
        self.api = ResourceClient(self.profile, self.sign_in)
        self.group = f"{self.profile.subscription_path}/resourceGroups/{GROUP}"
        self.api.put(self.group, LOCATION)
        self.fingerprint = fingerprint(Path(served.ca_file).read_bytes())

    def close(self) -> None:
        self.api.close()

    def _approve(self, code: DeviceCode) -> None:
        breakglass.approve(self.served.state, code.user_code)

    def mover(self) -> str:
        """The id of a fresh mover."""
        path = f"{self.group}/providers/Microsoft.StorageMover/storageMovers/m-{uuid.uuid4().hex[:8]}"
        return str(self.api.put(path, LOCATION)["id"])

    def wanted(self, mover: str, name: str = "") -> Wanted:
        return Wanted(
            self.profile.subscription,
            GROUP,
            mover.rpartition("/")[2],
            name or name_for(mover),
            self.served.url,
            ca_fingerprint=self.fingerprint,
        )

    def register(self, state: AgentState, mover: str, name: str = "") -> list[Step]:
        """Register the agent of `state` and approve its code."""
        return self.follow(register(state, self.wanted(mover, name), lambda _: time.sleep(0.05)))

    def follow(self, registering: Iterator[Step]) -> list[Step]:
        """See a registration through, approving its code."""
        steps = []
        for step in registering:
            if step.code is not None:
                self._approve(step.code)
            steps.append(step)
        return steps

    def agent(self, mover: str, name: str = "") -> dict[str, Any]:
        """The properties of an agent."""
        found: dict[str, Any] = self.api.get(f"{mover}/agents/{name or name_for(mover)}")["properties"]
        return found


def name_for(mover: str) -> str:
    """The name of a mover's agent: one of its own, because agents' machines share their resource group."""
    return f"agent-{mover.rpartition('/')[2]}"


@dataclass
class Running:
    """A daemon in a thread; `code` is what it ended with."""

    stopping: threading.Event
    thread: threading.Thread
    code: int | None = None
    trouble: BaseException | None = None

    def wait(self, seconds: float = 30) -> int | None:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the daemon did not end"
        if self.trouble is not None:
            raise self.trouble
        return self.code


@contextmanager
def daemon(state: AgentState, **options: Any) -> Iterator[Running]:
    """The agent of `state` at work while the block runs."""
    stopping = threading.Event()

    def work() -> None:
        try:
            running.code = run(state, Options(**{"workers": 0, **options}), stopping)
        except BaseException as trouble:  # noqa: BLE001 - handed to the test
            running.trouble = trouble

    running = Running(stopping, threading.Thread(target=work))
    running.thread.start()
    try:
        yield running
    finally:
        stopping.set()
        running.wait()


def until(check: Callable[[], Any], seconds: float = 30) -> Any:
    """What `check` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come to that in time")
