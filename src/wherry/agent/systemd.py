"""What the agent tells whoever has started it as a service: that it is ready, how it stands, that it still turns.

systemd's protocol: lines in one datagram to the socket that `NOTIFY_SOCKET` names.  Without that variable nobody
listens and nothing is sent.  The watchdog is fed only while all loops turn: by the main thread, as long as the threads
that it looks after have shown themselves in time.  Called by `daemon` and by `wherry agent identity-endpoint`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

STUCK_SECONDS = 900.0
"""A thread that has not turned for so long hangs: no request takes that long, nor does the fetching of a package."""


@dataclass
class Systemd:
    """Who waits for news of this process at `address`, every `watchdog_seconds` if that is not 0."""

    address: str = ""
    watchdog_seconds: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _fed: float = field(default=float("-inf"), init=False)
    _turned: float | None = field(default=None, init=False)

    @classmethod
    def named(cls, environ: Mapping[str, str] = os.environ) -> Systemd:
        """The one of the environment.

        Whose process the watchdog is about does not matter: an agent that upgrades itself is a child of the service.
        """
        told = environ.get("WATCHDOG_USEC", "")
        return cls(environ.get("NOTIFY_SOCKET", ""), int(told) / 1e6 if told.isdecimal() else 0.0)

    def ready(self, status: str) -> None:
        """It is up: what waits for it may start."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """How it stands, in a sentence."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """It ends for good."""
        self._send("STOPPING=1\nSTATUS=It gives its work back.")

    def turned(self) -> None:
        """The thread that is looked after has begun another turn."""
        self._turned = self.clock()

    def at_rest(self) -> None:
        """There is no thread to look after any more."""
        self._turned = None

    def feed(self) -> None:
        """The main thread turns: say so, unless the other one hangs.  Four times in the watchdog's time is enough."""
        now = self.clock()
        if not self.watchdog_seconds or now - self._fed < self.watchdog_seconds / 4:
            return
        if self._turned is None or now - self._turned < STUCK_SECONDS:
            self._fed = now
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self.address:
            return
        where = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        # One who does not listen any more is no reason to leave the work; a watchdog starts us anew if need be.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.settimeout(1.0)
            line.sendto(text.encode(), where)
