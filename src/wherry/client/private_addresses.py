"""Connections that may go to private addresses only, for agents that were registered with a private link scope.

What a name resolves to is not believed: the address of the other side is looked at when the connection stands, before
anything is sent over it.  Called by `connection`, `proven` and `agent.session`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from wherry.model.addresses import is_private

Trace = Callable[[str, Mapping[str, Any]], None]


def refusing_public(further: Trace | None = None) -> Trace:
    """An httpcore trace that ends a connection to a public address before anything is sent; `further` sees all else."""

    def trace(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            stream = info["return_value"]
            address = str(stream.get_extra_info("socket").getpeername()[0])
            if not is_private(address):
                stream.close()
                raise httpx.ConnectError(
                    f"{address} is a public address, and an agent with a private link scope talks to private ones "
                    "only; nothing was sent"
                )
        if further is not None:
            further(event, info)

    return trace


def public_address_of(url: str) -> str | None:
    """A public address that a URL's host has; None when all are private.  `OSError` when it has none."""
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    return next((str(where[0]) for *_, where in found if not is_private(str(where[0]))), None)
