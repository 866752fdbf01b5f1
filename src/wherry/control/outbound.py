"""Whom the control plane connects to: never to where clouds tell machines their secrets, and where the operator says.

People name storage accounts, servers of S3, vaults and sign-in providers.  What a name leads to is looked at when the
connection is made, so that neither a name that changes nor a library that follows something gets around it: `guarding`
stands before every socket of the process that Python connects, `watching` before those that uvloop connects by itself.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from wherry.control import networks
from wherry.model.addresses import is_never_a_service, read

ANY = "any"
_CONNECT = "socket.connect"
_INTERNET = (socket.AF_INET, socket.AF_INET6)

_guards: list[str] = []
_hooked: list[bool] = []


def refusal(address: str, allowed: str = ANY) -> str:
    """Why nothing is sent to an address; empty when it may be.  `allowed` as the setting `outbound_networks` has it."""
    found = read(address)
    if found is None or is_never_a_service(found):
        return f"{address} is no address of a service"
    if not networks.contains(allowed, address):
        return f"{address} is in none of the networks of the setting outbound_networks"
    return ""


@contextmanager
def guarding(allowed: str) -> Iterator[None]:
    """Let this process connect nowhere else while the block runs; who tries gets a `PermissionError`."""
    if not _hooked:
        # It cannot be taken back; without a guard it does nothing.
        sys.addaudithook(_look)
        _hooked.append(True)
    _guards.append(allowed)
    try:
        yield
    finally:
        _guards.remove(allowed)


def watching(allowed: str) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
    """An httpcore trace that ends a connection to anywhere else before anything is sent."""

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        if event != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        reason = refusal(str(stream.get_extra_info("server_addr")[0]), allowed)
        if reason:
            await stream.aclose()
            raise httpx.ConnectError(reason)

    return trace


def _look(event: str, told: tuple[Any, ...]) -> None:
    if event != _CONNECT or not _guards:
        return
    opened, address = told
    if opened.family not in _INTERNET:
        return
    for allowed in _guards:
        reason = refusal(str(address[0]), allowed)
        if reason:
            raise PermissionError(errno.EACCES, reason)
