"""A full disk under the database: 503 with a time to come back, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import event, select

from tests.unit.control.conftest import Clock, Made
from tests.unit.control.flows import signed_in
from wherry.control.db.tables_resources import resources
from wherry.control.plane import Plane

VERSION = {"api-version": "2024-11-01"}


@pytest.fixture
async def admin_client(client: httpx.AsyncClient, made: Made) -> httpx.AsyncClient:
    tokens = await signed_in(client, made.password)
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return client


@contextmanager
def full(plane: Plane) -> Iterator[None]:
    """The database may not grow by a page any more; SQLite itself refuses."""

    def limit(connection: Any, *_: Any) -> None:
        cursor = connection.cursor()
        (pages,) = cursor.execute("PRAGMA page_count").fetchone()
        cursor.execute(f"PRAGMA max_page_count={pages}")
        cursor.close()

    event.listen(plane.database.engine, "checkout", limit)
    try:
        yield
    finally:
        event.remove(plane.database.engine, "checkout", limit)

        def lift(connection: Any, *_: Any) -> None:
            connection.cursor().execute("PRAGMA max_page_count=1073741823")

        event.listen(plane.database.engine, "checkout", lift)


async def test_a_full_database_answers_503_and_changes_nothing(
    admin_client: httpx.AsyncClient, plane: Plane, clock: Clock
) -> None:
    path = f"/subscriptions/{plane.subscription}/resourcegroups/g"
    tags = {f"t{n}": "x" * 250 for n in range(50)}
    with full(plane):
        answer = await admin_client.put(path, params=VERSION, json={"location": "l", "tags": tags})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"]["code"] == "ServiceUnavailable"
    with plane.database.snapshot() as conn:
        assert conn.execute(select(resources.c.key)).first() is None

    answer = await admin_client.put(path, params=VERSION, json={"location": "l", "tags": tags})
    assert answer.status_code == 201, answer.text
