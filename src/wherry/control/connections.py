"""Connections that are too slow, or whose heads are too long, are ended: they would hold memory for ever.

uvicorn waits for a head without end and keeps whatever comes of it.  Bodies are bounded in `middleware`, where routes
read them.  Made by uvicorn, one for each connection; `serve` names the class.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wherry.control.plane import Plane

MOST_HEAD = 64 * 1024
"""How many bytes a request line and its headers may have together."""

_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class TooLong(Exception):
    """The head of a request is longer than `MOST_HEAD`; the parser makes a malformed request of it."""


class BoundedConnection(HttpToolsProtocol):
    """Answers 400 to a head that is too long, 408 to one that takes longer than the setting `head_seconds`.

    A body that nobody wanted, as its request was answered before, is read for `body_seconds`: hanging up at once could
    take the answer away from who still sends.
    """

    _timer: asyncio.TimerHandle | None = None
    _in_body = False
    _received = 0
    _counted = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_body:
            if self.cycle.response_complete:
                self._begin(_plane(self.config.app).settings.body_seconds)
        else:
            # Also what is no request yet: empty lines.
            if getattr(self.cycle, "response_complete", True):
                self._await_head()
            self._received += len(data)
        super().data_received(data)
        late = self._timer is not None and not self._in_body
        if late and self._received > MOST_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._counted = 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._calm()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._received = 0
        if self._timer is not None:
            self._calm()
            self._await_head()
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._counted += size
        if self._counted > MOST_HEAD:
            raise TooLong

    def _await_head(self) -> None:
        self._begin(_plane(self.config.app).settings.head_seconds)

    def _begin(self, seconds: float) -> None:
        if self._timer is None:
            self._received = 0
            self._timer = self.loop.call_later(seconds, self._too_late)

    def _calm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._received:
            self.transport.write(_LATE)
        self.transport.close()


def _plane(app: Any) -> Plane:
    found = app.state.plane
    assert isinstance(found, Plane)  # noqa: S101 - set by create_app
    return found
