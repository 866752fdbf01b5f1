"""Waiters wake when a transaction that stirred is committed, and not before."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import Connection

from wherry.control import wakeups
from wherry.control.deployment import Deployment
from wherry.control.wakeups import Wakeups


async def test_a_commit_that_stirs_wakes(opened: Deployment) -> None:
    waker = Wakeups(opened.database)
    ticket = waker.ticket()
    waiting = asyncio.create_task(waker.wait(ticket, 30))
    await opened.database.write(lambda conn: conn.exec_driver_sql("SELECT 1"))
    assert not ticket.is_set()

    def work(conn: Connection) -> None:
        wakeups.stir(conn)
        assert not ticket.is_set()

    await opened.database.write(work)
    await waiting
    assert ticket.is_set()
    waker.close()


async def test_a_change_between_the_look_and_the_wait_is_not_missed(opened: Deployment) -> None:
    waker = Wakeups(opened.database)
    ticket = waker.ticket()
    await opened.database.write(wakeups.stir)
    began = time.monotonic()
    await waker.wait(ticket, 30)
    assert time.monotonic() - began < 5
    fresh = waker.ticket()
    await waker.wait(fresh, 0.01)
    assert not fresh.is_set()
    waker.close()
    await opened.database.write(wakeups.stir)
