"""The certificate that a running service shows: made anew before it ends, or read anew when its owner replaced it.

Connections that are there go on with the one they began with; new ones get the new one.  A pair of files that does not
fit is not taken: the old certificate stays until they do.  Called by `serve`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from sqlalchemy.exc import OperationalError

log = logging.getLogger("wherry.control")

Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate and its key; `renew` makes them anew when they are near their end, for those that are ours."""

    certificate: Path
    key: Path
    renew: Callable[[], None] = lambda: None

    def stamp(self) -> Stamp:
        """Another value when a file was replaced or changed."""
        found = [path.stat() for path in (self.certificate, self.key)]
        return tuple((one.st_ino, one.st_mtime_ns) for one in found)

    def load(self, context: ssl.SSLContext) -> None:
        """Let `context` show them; what does not fit leaves it as it is."""
        # A pair that does not fit would leave half of it behind.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
        context.load_cert_chain(self.certificate, self.key)


@asynccontextmanager
async def kept_fresh(context: ssl.SSLContext, files: Files, seconds: float) -> AsyncIterator[None]:
    """Look after the certificate every `seconds` while the block runs."""
    task = asyncio.create_task(_look_after(context, files, seconds))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _look_after(context: ssl.SSLContext, files: Files, seconds: float) -> None:
    seen = files.stamp()
    while True:
        await asyncio.sleep(seconds)
        try:
            await anyio.to_thread.run_sync(files.renew)
            now = files.stamp()
            if now != seen:
                files.load(context)
                seen = now
                log.info("new connections are shown another certificate")
        except (OSError, ssl.SSLError, OperationalError) as trouble:
            log.warning("the certificate cannot be renewed now", extra={"reason": str(trouble)})
