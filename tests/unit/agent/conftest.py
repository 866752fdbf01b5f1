"""An agent's state, and a control plane that answers as a test tells it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tls_server import Authority, TlsServer, tls_server
from wherry.agent.state import AgentState


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
