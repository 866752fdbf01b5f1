"""The way of packets to an address, as far as it can be seen without any privilege.

A connection is tried with a longer and longer life of its packets; the machine where one dies says so, and the system
keeps that message for whoever asked.  Called by the shell's test of a single endpoint.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

from wherry.agent.lookup import look_up

MOST_HOPS = 30
SECONDS = 1.0
_ANSWERS = (0, errno.ECONNREFUSED)
# Of Linux, where Python has no names for them.
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_HOPS = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
_EXTENDED_ERROR = 16


class Hop(NamedTuple):
    """One step of the way: who answered (None: nobody), after how many seconds, and whether it is the end."""

    number: int
    address: str | None
    seconds: float
    is_end: bool


def trace(host: str, port: int, most: int = MOST_HOPS, seconds: float = SECONDS) -> Iterator[Hop]:
    """The way to a host and port, up to its end or `most` hops; raises `OSError` when the name is not found."""
    family, where = look_up(host, port)[0]
    for number in range(1, most + 1):
        hop = _hop(family, where, number, seconds)
        yield hop
        if hop.is_end:
            return


def _hop(family: int, where: tuple[object, ...], number: int, seconds: float) -> Hop:
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as line:
        line.setsockopt(*_HOPS[socket.AddressFamily(family)], number)
        line.setsockopt(*_RECVERR[socket.AddressFamily(family)], 1)
        begun = time.monotonic()
        trouble = line.connect_ex(where)
        if trouble == errno.EINPROGRESS:
            poll = select.poll()
            poll.register(line, select.POLLOUT)
            poll.poll(seconds * 1000)
            trouble = (
                line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if _is_over(line) else errno.EINPROGRESS
            )
        passed = time.monotonic() - begun
        if trouble in _ANSWERS:
            return Hop(number, str(where[0]), passed, True)
        return Hop(number, _who(line, family), passed, False)


def _is_over(line: socket.socket) -> bool:
    poll = select.poll()
    poll.register(line, select.POLLOUT)
    return bool(poll.poll(0))


def _who(line: socket.socket, family: int) -> str | None:
    """Who told that a packet died, from the queue of errors of the connection."""
    try:
        _, told, _, _ = line.recvmsg(512, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return None
    for level, kind, data in told:
        if (level, kind) == _RECVERR[socket.AddressFamily(family)]:
            offender = data[_EXTENDED_ERROR:]
            at, size = (4, 4) if family == socket.AF_INET else (8, 16)
            if len(offender) >= at + size:
                return socket.inet_ntop(family, offender[at : at + size])
    return None
