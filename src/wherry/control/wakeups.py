"""Waking agents that wait for work, as soon as the transaction that made work is committed.

A service that makes work says `stir(conn)`; when its transaction is over and the connection goes back to the pool,
everybody who waits looks again.  Another process's work is found by the waiters' own look at the database, every
`database_poll_seconds`: nothing depends on a wake-up arriving.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import Connection, event

from wherry.control.db.engine import Database

_MARK = "wherry_stirred"


def stir(conn: Connection) -> None:
    """Something has changed that a waiting agent or the reaper may want to see once this is committed."""
    conn.info[_MARK] = True


class Wakeups:
    """Waiters of one process.  Made in the event loop that waits."""

    def __init__(self, database: Database) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine = database.engine
        self._changed = asyncio.Event()
        event.listen(self._engine, "checkin", self._checked_in)

    def close(self) -> None:
        """Stop listening; whoever waits is woken."""
        event.remove(self._engine, "checkin", self._checked_in)
        self.wake()

    def wake(self) -> None:
        """Let everybody look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def ticket(self) -> asyncio.Event:
        """To be taken before looking: a change that comes between the look and the wait is not missed."""
        return self._changed

    async def wait(self, ticket: asyncio.Event, seconds: float) -> None:
        """Until something changes after the ticket was taken, at most so long."""
        try:
            await asyncio.wait_for(ticket.wait(), max(0.0, seconds))
        except TimeoutError:
            return

    def _checked_in(self, _connection: Any, record: Any) -> None:
        # Runs in the worker thread that ended the transaction.
        if record.info.pop(_MARK, False) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.wake)
