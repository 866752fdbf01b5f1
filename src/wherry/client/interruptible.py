"""Requests that another thread can end: long polls, heartbeats.

A blocked read only wakes when its socket is shut down.  Each request goes over a connection of its own, whose
socket is noted as soon as it exists.  Called by the agent's daemon, so that it stops at once when it is told to.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from wherry.client.connection import TIMEOUT
from wherry.trust.authority import client_context

_SOCKET_MADE = ("connection.connect_tcp.complete", "connection.start_tls.complete")


class Interruptible:
    """Connections for the requests of one thread; once interrupted, all end with `httpx.TransportError`."""

    def __init__(self, ca_file: Path) -> None:
        self.http = httpx.Client(
            verify=client_context(ca_file), timeout=TIMEOUT, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._lock = threading.Lock()
        self._socket: socket.socket | ssl.SSLSocket | None = None
        self._interrupted = False

    @property
    def extensions(self) -> Mapping[str, Any]:
        """What a request over `http` must carry."""
        return {"trace": self._trace}

    def interrupt(self) -> None:
        """End the request that is going on, and all later ones."""
        with self._lock:
            self._interrupted = True
            self._shut()

    def close(self) -> None:
        self.http.close()

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event in _SOCKET_MADE:
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._interrupted:
                    self._shut()

    def _shut(self) -> None:
        if self._socket is None or self._socket.fileno() < 0:
            return
        # Through a second descriptor: shutting an SSLSocket itself would take the TLS state from under its reader.
        with socket.socket(fileno=os.dup(self._socket.fileno())) as twin:
            try:
                twin.shutdown(socket.SHUT_RDWR)
            except OSError:
                return
