"""Addresses and routes of this machine as the kernel tells them to anybody, without any program.

Of the main table only.  Called by `network_report` and, before it changes an interface, by `machine.interfaces`.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_GET_ADDRESSES, _GET_ROUTES = 22, 26
_DUMP = 0x301
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_PERMANENT = 0x80
_MAIN = 254
_KERNEL, _DHCP, _UNICAST = 2, 16, 1
_ON_LINK = 4
_SECONDS = 5.0
_PROTOCOLS = {1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp"}


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface; `fixed` unless it was given for a time, as by DHCP."""

    interface: str
    address: str
    prefix: int
    fixed: bool
    is_link_local: bool

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets for `to` (empty: all others) leave; `by` says who made it, `metric` 0 for none.

    `is_on_link`: the gateway is a neighbour by word, in no network of the interface.
    """

    interface: str
    to: str
    gateway: str
    source: str
    by: str
    metric: int
    is_on_link: bool = False

    @property
    def is_made_by_kernel(self) -> bool:
        """Whether it comes and goes with an address."""
        return self.by == _PROTOCOLS[_KERNEL]

    @property
    def is_by_dhcp(self) -> bool:
        return self.by == _PROTOCOLS[_DHCP]

    def __str__(self) -> str:
        parts = [self.to or "default"]
        for word, value in (("via", self.gateway), ("proto", self.by), ("src", self.source)):
            parts += [word, value] if value else []
        return " ".join([*parts, *(["metric", str(self.metric)] if self.metric else [])])


def addresses() -> list[Address]:
    """Those of all interfaces."""
    names = dict(socket.if_nameindex())
    found = []
    for body in _dumped(_GET_ADDRESSES):
        family, prefix, flags, _scope, index = struct.unpack_from("=BBBBI", body)
        told = _attributes(body[8:])
        # IFA_LOCAL is this side of a line between two; IFA_FLAGS has more of them than fit into the byte.
        raw = told.get(2, told.get(1))
        text = _text(family, raw)
        if text and index in names:
            bits = struct.unpack("=I", told[8])[0] if 8 in told else flags
            near = ipaddress.ip_address(text).is_link_local
            found.append(Address(names[index], text, prefix, bool(bits & _PERMANENT), near))
    return found


def routes() -> list[Route]:
    """Those of the main table that lead through an interface."""
    names = dict(socket.if_nameindex())
    found = []
    for body in _dumped(_GET_ROUTES):
        family, length, _, _, table, protocol, _scope, kind, flags = struct.unpack_from("=BBBBBBBBI", body)
        told = _attributes(body[12:])
        index = struct.unpack("=I", told[4])[0] if 4 in told else 0
        if table != _MAIN or kind != _UNICAST or index not in names:
            continue
        to = _text(family, told.get(1))
        metric = struct.unpack("=I", told[6])[0] if 6 in told else 0
        found.append(
            Route(
                names[index],
                f"{to}/{length}" if length else "",
                _text(family, told.get(5)),
                _text(family, told.get(7)),
                _PROTOCOLS.get(protocol, str(protocol)),
                metric,
                bool(flags & _ON_LINK),
            )
        )
    return found


def _dumped(kind: int) -> Iterator[bytes]:
    """The bodies of all answers to a question for everything of a kind; raises `OSError`."""
    request = struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0) + bytes(4)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as line:
        line.settimeout(_SECONDS)
        line.bind((0, 0))
        line.send(_HEADER.pack(_HEADER.size + len(request), kind, _DUMP, 1, 0) + request)
        while True:
            data = line.recv(256 * 1024)
            while len(data) >= _HEADER.size:
                size, answer, _, _, _ = _HEADER.unpack_from(data)
                body = data[_HEADER.size : size]
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    raise OSError(number, os.strerror(number))
                yield body
                data = data[(size + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[4:size]
        data = data[(size + 3) & ~3 :]
    return found


def _text(family: int, raw: bytes | None) -> str:
    if raw is None or family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    return socket.inet_ntop(family, raw)
