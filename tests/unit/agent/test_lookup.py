"""Whatever a name is, looking it up ends by an address or by an `OSError`."""

from __future__ import annotations

import socket
import ssl

import pytest

from wherry.agent import facts, network_check
from wherry.agent.lookup import look_up
from wherry.agent.network_check import Endpoint
from wherry.agent.path_trace import trace
from wherry.agent.ping import ping
from wherry.model.errors import UsageError

NAMES = ["a..b", "a" * 64 + ".example", ".a"]


def test_an_address_is_its_own() -> None:
    assert look_up("127.0.0.1", 443)[0] == (socket.AF_INET, ("127.0.0.1", 443))


@pytest.mark.parametrize("name", NAMES)
def test_names_that_the_library_does_not_take_are_not_found(name: str) -> None:
    with pytest.raises(OSError, match="no name of a host"):
        look_up(name, None)
    with pytest.raises(OSError, match="no name of a host"):
        next(iter(ping(name)))
    with pytest.raises(OSError, match="no name of a host"):
        next(iter(trace(name, 443)))
    assert facts.address(f"https://{name}:8443") == ""
    with pytest.raises(UsageError, match="That is no address"):
        network_check.endpoint(name)
    # The address of a job's place is told by others.
    (step,) = network_check.check(
        Endpoint("place", f"https://{name}/", "/", ssl.create_default_context, None)
    ).steps
    assert (step.name, step.passed, step.remedy[:14]) == ("name lookup", False, "Check the name")
