"""An agent's state, and a control plane that answers as a test tells it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tls_server import Authority, TlsServer, tls_server
from wherry.agent.state import AgentState


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A TLS handshake that a test cuts off may leave its half-made socket to the garbage collector.

    httpcore closes only the plain one.  Descriptors are counted by the tests of `client.interruptible`.
    """
    half_made = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(half_made)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What a test has left is collected where it arose."""
    yield
    gc.collect()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsServer]:
    with tls_server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def authority(server: TlsServer) -> Authority:
    return Authority(server)


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")
