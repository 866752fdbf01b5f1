"""Echo requests without any privilege, by the system's own ICMP sockets.  Called by the restricted shell."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterator

from wherry.agent.lookup import look_up
from wherry.model.errors import UsageError

SECONDS = 1.0
_KINDS = {
    socket.AF_INET: (socket.IPPROTO_ICMP, 8),
    socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128),
}


def ping(host: str, count: int = 4, seconds: float = SECONDS) -> Iterator[tuple[str, float | None]]:
    """Ask `count` times: the address, and the seconds until its answer (None: none came).

    Raises `OSError` when the name is not found, `UsageError` when this user may not ask.
    """
    family, where = look_up(host, None, socket.SOCK_DGRAM)[0]
    protocol, kind = _KINDS[family]
    try:
        line = socket.socket(family, socket.SOCK_DGRAM, protocol)
    except PermissionError as refused:
        raise UsageError(
            "This user may not ping. Its group has to be in the range of net.ipv4.ping_group_range."
        ) from refused
    with line:
        for number in range(1, count + 1):
            # The system fills in checksum and identifier.
            line.sendto(struct.pack("!BBHHH", kind, 0, 0, 0, number) + os.urandom(16), where)
            begun = time.monotonic()
            yield str(where[0]), _answered(line, number, begun, seconds)


def _answered(line: socket.socket, number: int, begun: float, seconds: float) -> float | None:
    while (left := begun + seconds - time.monotonic()) > 0:
        if not select.select([line], [], [], left)[0]:
            break
        if struct.unpack("!H", line.recv(1024)[6:8])[0] == number:
            return time.monotonic() - begun
    return None
