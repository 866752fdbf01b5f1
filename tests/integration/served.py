"""A control plane in a process of its own, and Azure's own clients signed in to it."""

from __future__ import annotations

import functools
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.identity import DeviceCodeCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.hybridcompute import HybridComputeManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.subscriptions import SubscriptionClient
from azure.mgmt.storagemover import StorageMoverMgmtClient

from wherry.control import breakglass, deployment, environment

START_LIMIT = 60.0
# A control plane that would talk to the world in a test is refused to, and its test fails.
NETWORKS = "127.0.0.0/8, ::1, 10.0.0.0/8"
# Half a thousand modules are no garbage.
SERVE = """
import gc, os, sys
gc.disable()
from pathlib import Path
from wherry.control.serve import run
gc.freeze()
gc.enable()
sys.exit(run(Path(sys.argv[1]), *sys.argv[2:], log_level=os.environ.get("TESTS_LOG_LEVEL", "warning")))
"""


@dataclass
class Served:
    """A running control plane; `credential` is the first administrator's.

    Clients are typed `Any`: tests read what the service answered, whatever the models make optional.
    """

    state: Path
    url: str
    process: subprocess.Popen[str]

    def __post_init__(self) -> None:
        self.env = environment.variables(self.state)
        self.subscription = self.env["WHERRY_SUBSCRIPTION_ID"]
        self.tenant = self.env["WHERRY_TENANT_ID"]
        self.ca_file = self.env["WHERRY_CA_FILE"]
        self.credential = DeviceCodeCredential(
            authority=self.env["WHERRY_AUTHORITY"],
            tenant_id=self.tenant,
            disable_instance_discovery=True,
            connection_verify=self.ca_file,
            prompt_callback=self._approve,
        )

    def _approve(self, _uri: str, code: str, _expires: datetime) -> None:
        breakglass.approve(self.state, code)

    @property
    def options(self) -> dict[str, Any]:
        return {
            "base_url": self.url,
            "credential_scopes": [f"{self.url}/.default"],
            "connection_verify": self.ca_file,
        }

    @property
    def movers(self) -> Any:
        return StorageMoverMgmtClient(self.credential, self.subscription, **self.options)

    @property
    def resources(self) -> Any:
        return ResourceManagementClient(self.credential, self.subscription, **self.options)

    @property
    def authorization(self) -> Any:
        return AuthorizationManagementClient(self.credential, self.subscription, **self.options)

    @property
    def machines(self) -> Any:
        return HybridComputeManagementClient(self.credential, self.subscription, **self.options)

    @property
    def subscriptions(self) -> Any:
        return SubscriptionClient(self.credential, **self.options)

    def token(self) -> str:
        """An access token for the resource API."""
        return str(self.credential.get_token(f"{self.url}/.default").token)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@functools.cache
def _made() -> Path:
    """A state directory that nobody has served yet; its keys and tables took a second to make."""
    state = Path(tempfile.mkdtemp(prefix="made-")) / "state"
    deployment.create_or_open(state).close()
    return state


@contextmanager
def serving(
    state: Path,
    listen: str = "127.0.0.1:0",
    *,
    first_start: bool = False,
    public_url: str | None = None,
    log_level: str = "warning",
) -> Iterator[Served]:
    """Serve `state` while the block runs, by default on a free loopback port.

    A state that is not there is a copy of one that this process has made before, or, at a `first_start`, the server's.
    """
    if not first_start and not state.exists():
        shutil.copytree(_made(), state)
    log = state.with_suffix(".log")
    port = int(listen.rpartition(":")[2])
    # Whoever asks for any free port meanwhile must not get this one.
    with log.open("w") as stderr, holding(port) if port else nullcontext():
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(state), listen, *([public_url] if public_url else [])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
            env={"WHERRY_SETTING_OUTBOUND_NETWORKS": NETWORKS, **os.environ, "TESTS_LOG_LEVEL": log_level},
        )  # fmt: skip
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.select(START_LIMIT)
        line = process.stdout.readline() if process.poll() is None else ""
        if not line:
            process.kill()
            process.communicate()
            raise AssertionError(f"the control plane did not start: {log.read_text()}")
    served = Served(state, json.loads(line)["url"], process)
    try:
        yield served
    finally:
        served.stop()


@contextmanager
def holding(port: int = 0) -> Iterator[int]:
    """A port that a server which names it can listen on while the block runs, and that nobody else is given."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
        yield held.getsockname()[1]


def code_of(refused: HttpResponseError) -> str | None:
    """The error code of an answer, as the SDK read it."""
    return refused.error.code if refused.error else None


def target_of(refused: HttpResponseError) -> str | None:
    """The property that an error is about, as the SDK read it."""
    return refused.error.target if refused.error else None
