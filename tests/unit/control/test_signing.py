"""Token keys that rotate, and what housekeeping forgets."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from tests.unit.control import flows
from tests.unit.control.conftest import START
from wherry.control import audit, housekeeping
from wherry.control.db.tables_identity import (
    attempts,
    device_codes,
    refresh_families,
    refresh_tokens,
    sessions,
)
from wherry.control.services import signing
from wherry.trust.keys import KeyTrouble, MasterKey

DAY = 86400.0


def kids(plane, now: float) -> tuple[str, set[str]]:
    with plane.database.snapshot() as conn:
        ring = signing.ring(conn, plane.master, now)
    return ring.kid, set(ring.verifying)


def rotate(plane, now: float) -> bool:
    with plane.database.transaction() as conn:
        return signing.rotate(conn, plane.master, now)


def test_the_next_key_is_published_a_day_ahead_and_the_old_one_kept_a_while(plane):
    first, _ = kids(plane, START)
    assert not rotate(plane, START + 28 * DAY)
    assert rotate(plane, START + 29 * DAY)
    assert not rotate(plane, START + 29 * DAY)
    signs, verify = kids(plane, START + 29.5 * DAY)
    assert (signs, len(verify)) == (first, 2)
    signs, verify = kids(plane, START + 30 * DAY)
    assert signs != first
    assert first in verify
    assert kids(plane, START + 32 * DAY + 1)[1] == {signs}
    rotate(plane, START + 33 * DAY)
    assert kids(plane, START)[1] == {signs}


def test_after_a_long_sleep_there_is_a_key_again(plane):
    rotate(plane, START + 400 * DAY)
    signs, verify = kids(plane, START + 400 * DAY)
    assert signs in verify


def test_keys_open_with_the_right_master_key_only(plane):
    with plane.database.snapshot() as conn, pytest.raises(KeyTrouble):
        signing.ring(conn, MasterKey.generate(), START)


async def test_a_token_of_the_old_key_lives_to_its_end(client, made, plane, clock):
    token = (await flows.signed_in(client, made.password))["access_token"]
    rotate(plane, START + 29 * DAY)
    clock.now += 61
    answer = await client.get("/tenants?api-version=2022-12-01", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


async def test_what_can_have_no_effect_any_more_goes(client, made, plane, clock):
    await flows.signed_in(client, made.password)
    tables = (sessions, device_codes, attempts, refresh_families, refresh_tokens)

    def counts() -> list[int]:
        with plane.database.snapshot() as conn:
            return [conn.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]

    def tidy(now: float) -> None:
        with plane.database.transaction() as conn:
            housekeeping.tidy(conn, now)

    tidy(clock.now)
    assert counts() == [1, 1, 1, 1, 1]
    tidy(clock.now + 600)
    assert counts() == [1, 1, 1, 1, 1]
    tidy(clock.now + 9 * 3600)
    assert counts() == [0, 0, 0, 1, 1]
    tidy(clock.now + 26 * 3600)
    assert counts() == [0] * 5


async def test_what_was_counted_is_written_when_the_service_ends(plane):
    async with housekeeping.running(plane):
        await asyncio.sleep(0)
        plane.counters.count(None, "read", "denied", plane.clock())
    with plane.database.snapshot() as conn:
        assert [record["action"] for record in audit.records(conn)] == ["read"]
        assert audit.verify(conn) is None
