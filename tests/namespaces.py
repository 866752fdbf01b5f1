"""A machine of its own, as far as the network goes: a namespace with a private and a public way to this one.

Needs root and `ip`.  The public addresses are of a network that is used nowhere else, and lead no further than here.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_NEW_NET = 0x40000000


class NamespacesMissing(Exception):
    """This machine cannot make network namespaces."""


@dataclass(frozen=True)
class Site:
    """A namespace: this machine's addresses and networks on both ways, as seen from there."""

    name: str
    private_here: str
    private_there: str
    private_network: str
    public_here: str

    def inside(self, work: Callable[[], T]) -> T:
        """What `work` gives, done in the namespace; threads that it starts are there too."""
        return inside(self.name, work)


NUMBER = os.getpid()
_AT = f"{NUMBER // 250 % 120}.{NUMBER % 250}"
PRIVATE, PUBLIC = f"10.{_AT}.1", f"11.{_AT}.1"
"""This machine's addresses there, for each process its own."""


def inside(name: str, work: Callable[[], T]) -> T:
    """What `work` gives, done in the namespace of this name."""
    found: list[T] = []
    trouble: list[BaseException] = []

    def there() -> None:
        try:
            handle = os.open(f"/run/netns/{name}", os.O_RDONLY)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle, _NEW_NET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(handle)
            found.append(work())
        except BaseException as caught:  # noqa: BLE001 - handed to the caller
            trouble.append(caught)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return found[0]


ROUTER, FAR = f"10.{_AT}.5", f"10.{_AT}.10"
"""The near side of a router, and what lies behind it, in namespaces of their own."""


@contextmanager
def routed() -> Iterator[str]:
    """The name of a namespace from which `ROUTER` leads to `FAR`; raises `NamespacesMissing`."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NamespacesMissing("Network namespaces need root and the program ip (package iproute2).")
    near, router, far = (f"wherry-{word}-{NUMBER}" for word in ("near", "router", "far"))
    made: list[str] = []
    try:
        try:
            for name in (near, router, far):
                _ip("netns", "add", name)
                made.append(name)
        except subprocess.CalledProcessError as refused:
            raise NamespacesMissing(refused.stderr.strip()) from refused
        for left, right, here, there in (
            (near, router, f"10.{_AT}.6", ROUTER),
            (router, far, f"10.{_AT}.9", FAR),
        ):
            _ip(
                "-n",
                left,
                "link",
                "add",
                "to-right",
                "type",
                "veth",
                "peer",
                "name",
                "to-left",
                "netns",
                right,
            )
            for name, link, address in ((left, "to-right", here), (right, "to-left", there)):
                _ip("-n", name, "address", "add", f"{address}/30", "dev", link)
                _ip("-n", name, "link", "set", link, "up")
        _ip("-n", near, "route", "add", "default", "via", ROUTER)
        _ip("-n", far, "route", "add", "default", "via", f"10.{_AT}.9")
        inside(router, lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
        inside(near, lambda: Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647"))
        yield near
    finally:
        for name in made:
            _ip("netns", "delete", name)


@contextmanager
def site() -> Iterator[Site]:
    """Make a namespace while the block runs; raises `NamespacesMissing` where that cannot be."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NamespacesMissing("Network namespaces need root and the program ip (package iproute2).")
    number = NUMBER
    name = f"wherry-{number}"
    made = Site(name, PRIVATE, f"10.{_AT}.2", f"10.{_AT}.0/30", PUBLIC)
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as refused:
        raise NamespacesMissing(refused.stderr.strip()) from refused
    try:
        for kind, address in (("v", made.private_here), ("p", made.public_here)):
            here, there = f"w{kind}{number}", f"x{kind}{number}"
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
            _ip("address", "add", f"{address}/30", "dev", here)
            _ip("link", "set", here, "up")
            _ip("-n", name, "address", "add", f"{address[:-1]}2/30", "dev", there)
            _ip("-n", name, "link", "set", there, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield made
    finally:
        for kind in ("v", "p"):
            subprocess.run(["ip", "link", "delete", f"w{kind}{number}"], capture_output=True, check=False)
        _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
