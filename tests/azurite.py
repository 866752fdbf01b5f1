"""Starts Azurite, a real Blob server, on a free loopback port, and makes containers in it.

The fixture `azurite` of `conftest.py` shares one in a test session (a worker of xdist); tests that need a server with
its own life or with TLS start further ones by `start_azurite`. `tools/servers.py install` brings the program.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from azure.storage.blob import BlobServiceClient, ContainerClient

PROGRAM = Path(__file__).resolve().parent.parent / ".cache" / "azurite" / "azurite-blob"
# The account that every Azurite has; its key is public and opens nothing else.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
LISTENING = re.compile(r"successfully listens on (https?)://127\.0\.0\.1:(\d+)")
START_LIMIT = 30.0


class AzuriteMissing(Exception):
    """Azurite is not installed in this checkout."""


class AzuriteFailed(Exception):
    """Azurite did not start; holds what it printed."""


@dataclass(frozen=True)
class Azurite:
    """A running server. `url` is the account's, `process` for tests that stop or kill it."""

    url: str
    process: subprocess.Popen[str]
    account: str = ACCOUNT
    key: str = field(default=KEY, repr=False)
    service: BlobServiceClient = field(init=False, repr=False)

    def __post_init__(self) -> None:
        credential = {"account_name": self.account, "account_key": self.key}
        object.__setattr__(self, "service", BlobServiceClient(self.url, credential=credential))

    @property
    def host(self) -> str:
        """Host and port, as in `127.0.0.1:10000`."""
        return self.url.split("/")[2]

    def container(self, prefix: str = "test") -> ContainerClient:
        """A fresh, empty container; its name is `container_name` of the answer."""
        return self.service.create_container(f"{prefix}-{uuid.uuid4().hex[:12]}")

    def close(self) -> None:
        self.service.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_azurite(folder: Path, *options: str) -> Azurite:
    """Start a server that keeps all in memory; it ends with `close()`.

    `folder` is its working directory and holds its log; `options` go to the program as they are, such as
    `--cert FILE --key FILE` for TLS.
    """
    if not PROGRAM.exists():
        raise AzuriteMissing(
            "Azurite is not installed: run `make test`, or `python tools/servers.py install`"
        )
    fixed = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--silent"]
    process = subprocess.Popen(
        [str(PROGRAM), *fixed, "--disableTelemetry", "--skipApiVersionCheck", *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        scheme, port = wait_until_listening(process)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Azurite(f"{scheme}://127.0.0.1:{port}/{ACCOUNT}", process)


def wait_until_listening(process: subprocess.Popen[str]) -> tuple[str, int]:
    """Scheme and port that the server chose, read from what it prints when it is ready."""
    assert process.stdout is not None
    printed = ""
    deadline = time.monotonic() + START_LIMIT
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), 65536).decode(errors="replace")
            printed += chunk
            if found := LISTENING.search(printed):
                return found[1], int(found[2])
            if not chunk:
                break
    raise AzuriteFailed(f"Azurite did not start within {START_LIMIT:.0f} s: {printed.strip()!r}")


@contextmanager
def running_azurite(folder: Path, *options: str) -> Iterator[Azurite]:
    """`start_azurite` for a `with` statement."""
    server = start_azurite(folder, *options)
    try:
        yield server
    finally:
        server.close()
