"""The one door to the database: `Database.read`, `Database.write` and, where no event loop runs, `transaction`.

Services are plain functions `f(conn, ...)`; they never open, commit or roll back.  A call of `read` or `write` is one
transaction in a worker thread:

    run = await database.write(runs.create, job_id, now)      # def create(conn: Connection, job_id, now) -> Run

An exception leaves nothing behind.  On SQLite writes queue in order of arrival (`BEGIN IMMEDIATE` behind one lock a
process), readers see the last committed state and never wait; `synchronous=FULL`, so what was answered survives
a power cut.  On PostgreSQL the lock is one of the server, so that writers of all processes take turns, and readers see
one moment.  `companion` lets the audit record of a request ride in the request's own transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Concatenate, ParamSpec, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

P = ParamSpec("P")
T = TypeVar("T")

Companion = Callable[[Connection], Callable[[], None] | None]
"""Called at the end of each write transaction; what it returns is called when that transaction is committed."""

companion: ContextVar[Companion | None] = ContextVar("companion", default=None)

_WRITER = 0x77686572
"""The advisory lock of whoever writes, on a PostgreSQL."""

READERS = 16
"""Reads at a time; each holds a thread and a connection."""


class Database:
    """A database of the control plane.  Opened once a process, closed by `close`."""

    def __init__(self, url: str | URL) -> None:
        self.engine: Engine = _engine(make_url(url))
        self._lock = threading.Lock()
        self._readers = CapacityLimiter(READERS)
        self._writers = CapacityLimiter(1)

    async def read(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The answer of `function(conn, *args)` on one consistent state; writing in it fails."""

        def call() -> T:
            with self.snapshot() as conn:
                return function(conn, *args, **kwargs)

        return await anyio.to_thread.run_sync(call, limiter=self._readers)

    async def write(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The answer of `function(conn, *args)`, committed before this returns; raising rolls back."""

        def call() -> T:
            with self.transaction() as conn:
                return function(conn, *args, **kwargs)

        return await anyio.to_thread.run_sync(call, limiter=self._writers)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A read-only transaction for code that runs in no event loop: start-up, commands, tests."""
        with self.engine.connect() as conn, conn.execution_options(wherry_writes=False).begin() as begun:
            yield conn
            begun.rollback()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A write transaction for code that runs in no event loop; raising rolls back."""
        rider = companion.get()
        with self._lock, self.engine.connect() as conn:
            with conn.execution_options(wherry_writes=True).begin():
                yield conn
                committed = rider(conn) if rider else None
            if committed:
                committed()

    def close(self) -> None:
        """Close all connections; nothing may be running."""
        self.engine.dispose()


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        engine = create_engine(
            url, pool_pre_ping=True, hide_parameters=True, pool_size=READERS + 1, max_overflow=1
        )
        event.listen(engine, "begin", _begin_elsewhere)
        return engine
    engine = create_engine(
        url, hide_parameters=True, pool_size=READERS + 1, max_overflow=1, connect_args={"timeout": 30}
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # No transaction of sqlite3's own making: `_begin` says which kind it is.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin(conn: Connection) -> None:
    writes = bool(conn.get_execution_options().get("wherry_writes"))
    conn.exec_driver_sql(f"PRAGMA query_only={0 if writes else 1}")
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_elsewhere(conn: Connection) -> None:
    """PostgreSQL: the same terms as on SQLite, for all processes of all replicas."""
    if conn.get_execution_options().get("wherry_writes"):
        conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER})")
    else:
        conn.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
