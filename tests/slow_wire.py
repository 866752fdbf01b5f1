"""A server as slow as a test needs it: a relay that lets so many writes a second pass, however fast the machine is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 1 << 16


class SlowWire:
    """Passes all that comes to a free port of 127.0.0.1 to the server at `upstream`, PUT requests at a pace."""

    def __init__(self, upstream: tuple[str, int], writes_a_second: float) -> None:
        self._upstream = upstream
        self._steps = (1 / writes_a_second,) * 2
        self._quick = 0
        self._next = 0.0
        self._lock = threading.Lock()
        self._pace_changed = threading.Condition(self._lock)
        self._paces = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @contextmanager
    def slower(self, writes_a_second: float, after: int) -> Iterator[None]:
        """Another pace for all but the next few writes; those that wait when the block ends pass at once."""
        before = self._steps
        self._pace((before[0], 1 / writes_a_second), after)
        try:
            yield
        finally:
            self._pace(before)

    def close(self) -> None:
        """Hang up on everybody."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(10)
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._upstream)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {near, far}
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if data.startswith(b"PUT "):
                    self._wait()
                sink.sendall(data)
        # The other direction ends too, by whoever passes it.
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()

    def _pace(self, steps: tuple[float, float], quick: int = 0) -> None:
        with self._pace_changed:
            self._steps, self._quick, self._next = steps, quick, 0.0
            self._paces += 1
            self._pace_changed.notify_all()

    def _wait(self) -> None:
        with self._pace_changed:
            now, pace = time.monotonic(), self._paces
            self._quick -= 1
            self._next = max(now, self._next + self._steps[self._quick < 0])
            self._pace_changed.wait_for(lambda: self._paces != pace, self._next - now)


@contextmanager
def slow_wire(host: str, writes_a_second: float) -> Iterator[SlowWire]:
    """A relay to `host` (name and port) while the block runs."""
    name, _, port = host.partition(":")
    wire = SlowWire((name, int(port)), writes_a_second)
    try:
        yield wire
    finally:
        wire.close()
