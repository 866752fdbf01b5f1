"""A server that answers as a test tells it, and a profile that points to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tls_server import TENANT, Authority, TlsServer, tls_server
from wherry.client.profile import Profile


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsServer]:
    with tls_server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def authority(server: TlsServer) -> Authority:
    return Authority(server)


@pytest.fixture
def profile(server: TlsServer) -> Profile:
    return Profile(server.url, server.url, TENANT, "00000000-0000-0000-0000-000000000001", server.ca_file)
