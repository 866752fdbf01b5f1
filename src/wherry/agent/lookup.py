"""The addresses of a host.  Called by all of the agent that looks a name up by itself."""

from __future__ import annotations

import socket

Where = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
"""What a socket connects to; the address comes first."""


def look_up(
    host: str, port: int | None, kind: socket.SocketKind = socket.SOCK_STREAM
) -> list[tuple[socket.AddressFamily, Where]]:
    """Each with its family, as sockets take it; raises `OSError` for every name that is not found.

    The library alone raises `UnicodeError` for one with a label that is empty or too long.
    """
    try:
        found = socket.getaddrinfo(host, port, type=kind)
    except UnicodeError as wrong:
        raise socket.gaierror(socket.EAI_NONAME, "this is no name of a host") from wrong
    return [(family, where) for family, _, _, _, where in found]
