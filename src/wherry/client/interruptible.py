"""Requests that another thread can end: long polls, heartbeats.

A blocked read only wakes when its socket is shut down.  Each request goes over a connection of its own, whose
socket is noted by a second descriptor as soon as it exists: that one stays ours when the first is closed and its
number given to something else.  Called by the agent's daemon, so that it stops at once when it is told to.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from wherry.client.connection import TIMEOUT
from wherry.client.outward import context_for, proxy_for
from wherry.model.way import DIRECT, Way


class Interruptible:
    """Connections of one thread to the host of `url`; once interrupted, requests end with `httpx.TransportError`."""

    def __init__(self, ca_file: Path, url: str = "", way: Way = DIRECT) -> None:
        self.http = httpx.Client(
            verify=context_for(ca_file, way),
            timeout=TIMEOUT,
            limits=httpx.Limits(max_keepalive_connections=0),
            proxy=proxy_for(url, way),
            trust_env=False,
        )
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._interrupted = False

    @contextlib.contextmanager
    def request(self) -> Iterator[Mapping[str, Any]]:
        """What requests inside must carry as `extensions`, over `http`."""
        try:
            yield {"trace": self._trace}
        finally:
            with self._lock:
                self._let_go()

    def interrupt(self) -> None:
        """End the request that is going on, and all later ones."""
        with self._lock:
            self._interrupted = True
            self._shut()

    def close(self) -> None:
        self.http.close()

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event != "connection.connect_tcp.complete":
            return
        opened = info["return_value"].get_extra_info("socket")
        with self._lock:
            self._let_go()
            self._socket = socket.socket(fileno=os.dup(opened.fileno()))
            if self._interrupted:
                self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            # The other side may have gone before.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
