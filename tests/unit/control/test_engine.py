"""The door to the database: one state to read, writes one after the other, nothing half done."""

from __future__ import annotations

import asyncio
import threading

import pytest
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from wherry.control.db.engine import companion
from wherry.control.db.tables_identity import agent_keys, meta


def put(conn: Connection, key: str, value: str = "0") -> None:
    conn.execute(insert(meta).values(key=key, value=value))


def get(conn: Connection, key: str) -> str | None:
    return conn.execute(select(meta.c.value).where(meta.c.key == key)).scalar()


async def test_an_exception_leaves_nothing(plane):
    def half(conn: Connection) -> None:
        put(conn, "half")
        raise KeyError("half")

    with pytest.raises(KeyError):
        await plane.database.write(half)
    assert await plane.database.read(get, "half") is None


async def test_reading_cannot_write(plane):
    with pytest.raises(OperationalError, match="readonly"):
        await plane.database.read(put, "x")


async def test_writes_at_once_do_not_lose_one_another(plane):
    def add(conn: Connection) -> None:
        conn.execute(update(meta).where(meta.c.key == "n").values(value=str(int(get(conn, "n") or 0) + 1)))

    await plane.database.write(put, "n")
    await asyncio.gather(*(plane.database.write(add) for _ in range(50)))
    assert await plane.database.read(get, "n") == "50"


async def test_a_reader_sees_one_state_and_never_waits_for_a_writer(plane):
    await plane.database.write(put, "k", "before")
    written, release = threading.Event(), threading.Event()

    def slow(conn: Connection) -> None:
        conn.execute(update(meta).where(meta.c.key == "k").values(value="after"))
        written.set()
        assert release.wait(10)

    writing = asyncio.create_task(plane.database.write(slow))
    await asyncio.to_thread(written.wait, 10)
    assert await plane.database.read(get, "k") == "before"
    release.set()
    await writing
    assert await plane.database.read(get, "k") == "after"


async def test_foreign_keys_hold_and_the_log_is_written_ahead(plane):
    def orphan(conn: Connection) -> None:
        conn.execute(
            insert(agent_keys).values(
                jkt="j", oid="nobody", jwk={}, state="active", created_at=0, expires_at=0
            )
        )

    with pytest.raises(IntegrityError):
        await plane.database.write(orphan)
    assert await plane.database.read(lambda conn: conn.execute(text("PRAGMA journal_mode")).scalar()) == "wal"
    assert await plane.database.read(lambda conn: conn.execute(text("PRAGMA synchronous")).scalar()) == 2


async def test_a_companion_rides_along_and_hears_of_the_commit_only(plane):
    heard: list[str] = []

    def ride(conn: Connection):
        put(conn, "rider")
        return lambda: heard.append("committed")

    token = companion.set(ride)
    try:
        with pytest.raises(IntegrityError):
            await plane.database.write(put, "rider")
        assert heard == []
        await plane.database.write(put, "host")
    finally:
        companion.reset(token)
    assert heard == ["committed"]
    assert await plane.database.read(get, "rider") == "0"


async def test_statements_in_errors_show_no_values(plane):
    await plane.database.write(put, "same")
    with pytest.raises(IntegrityError) as failed:
        await plane.database.write(put, "same", "canary-4711")
    assert "canary-4711" not in str(failed.value)
