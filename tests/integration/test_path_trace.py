"""The way of packets, over a real router between two networks."""

from __future__ import annotations

import os
import socket

import pytest

from tests.namespaces import FAR, ROUTER, NamespacesMissing, inside, routed
from wherry.agent.path_trace import trace
from wherry.agent.ping import ping


@pytest.mark.allow_hosts(["127.0.0.1", "::1", FAR, ROUTER])
def test_the_router_and_the_end_are_seen() -> None:
    try:
        with routed() as near:
            hops = inside(near, lambda: list(trace(FAR, 443, seconds=5)))
            assert [(hop.number, hop.address, hop.is_end) for hop in hops] == [
                (1, ROUTER, False),
                (2, FAR, True),
            ]
            answers = inside(near, lambda: list(ping(FAR, count=2, seconds=5)))
            assert [address for address, _ in answers] == [FAR, FAR]
            assert all(seconds is not None for _, seconds in answers)
    except NamespacesMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.mark.parametrize("listening", [True, False])
def test_this_machine_is_one_step_away(listening: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        if not listening:
            service.close()
        hops = list(trace("127.0.0.1", port))
    assert [(hop.number, hop.address, hop.is_end) for hop in hops] == [(1, "127.0.0.1", True)]
