"""A request that another thread ends, at whatever moment."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.tls_server import Answer, TlsServer
from wherry.client.interruptible import Interruptible

# An interrupted handshake leaves its half-made TLS socket to the garbage collector: httpcore closes only the plain
# one.  The descriptors are counted below.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_request_goes_through(server: TlsServer) -> None:
    server.on("GET", "/x", Answer(200, {"a": 1}))
    line = Interruptible(server.ca_file)

    with line.request() as extensions:
        assert line.http.get(f"{server.url}/x", extensions=extensions).json() == {"a": 1}

    line.close()


def test_an_interrupt_at_any_moment_ends_the_request_and_hurts_nothing_else(server: TlsServer) -> None:
    """The line of a heartbeat is closed and opened all the time; the interrupt may come between."""
    server.on("GET", "/x", Answer(200))
    bystander = httpx.Client(verify=False)
    before = descriptors()
    for round_ in range(30):
        line = Interruptible(server.ca_file)
        ended = threading.Event()

        def ask(line: Interruptible = line, ended: threading.Event = ended) -> None:
            try:
                while True:
                    with line.request() as extensions:
                        line.http.get(f"{server.url}/x", extensions=extensions)
            except httpx.TransportError:
                ended.set()

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.002 * round_)
        line.interrupt()
        assert ended.wait(10)
        thread.join()
        line.close()
        assert bystander.get(f"{server.url}/x").status_code == 200
    bystander.close()
    assert descriptors() < before + 20


def test_an_interrupt_before_the_first_request_counts(server: TlsServer) -> None:
    line = Interruptible(server.ca_file)
    line.interrupt()

    with pytest.raises(httpx.TransportError), line.request() as extensions:
        line.http.get(f"{server.url}/x", extensions=extensions)

    line.close()
