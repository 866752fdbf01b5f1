"""The one door to the database on PostgreSQL: the same terms as on SQLite, for as many processes as there are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import func, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from tests.postgresql import programs, running_postgresql
from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.db import metadata, schema
from wherry.control.db.engine import Database
from wherry.control.db.tables_audit import audit as records
from wherry.control.db.tables_identity import meta
from wherry.control.services import first_start, signing
from wherry.trust.keys import MasterKey

pytestmark = pytest.mark.skipif(
    programs() is None and not os.environ.get("CI"), reason="needs the programs of a PostgreSQL server"
)
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_postgresql() as url:
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def test_the_schema_is_made_and_a_deployment_begins(database: Database) -> None:
    schema.upgrade(database)
    schema.upgrade(database)
    assert schema.revision(database) == schema.HEAD
    assert set(metadata.complete().tables) <= set(inspect(database.engine).get_table_names())
    master = MasterKey.generate()
    with database.transaction() as conn:
        first_start.populate(conn, master, "00000000-0000-0000-0000-000000000001", NOW)
    with database.snapshot() as conn:
        assert conn.execute(select(meta.c.key).order_by(meta.c.key)).scalars().all() == [
            "first_administrator", "incarnation",
        ]  # fmt: skip
        # Opens what was sealed, or raises.
        signing.ring(conn, master, NOW)


def test_reading_writes_nothing_and_sees_one_moment(url: str, database: Database) -> None:
    schema.upgrade(database)
    with database.snapshot() as conn:
        before = conn.execute(select(func.count()).select_from(meta)).scalar_one()
        other = Database(url)
        with other.transaction() as writing:
            writing.execute(insert(meta).values(key="later", value="x"))
        other.close()
        assert conn.execute(select(func.count()).select_from(meta)).scalar_one() == before
    with pytest.raises(DBAPIError, match="read-only"), database.snapshot() as conn:
        conn.execute(insert(meta).values(key="never", value="x"))
    with database.snapshot() as conn:
        assert conn.execute(select(func.count()).select_from(meta)).scalar_one() == before + 1


def test_writers_of_several_processes_take_turns(url: str, database: Database) -> None:
    """Each record of the chain is tied to the one before: two that are made at once would fork it."""
    schema.upgrade(database)

    def write() -> None:
        own = Database(url)
        try:
            for _ in range(20):
                with own.transaction() as conn:
                    audit.append(conn, Record("wherry/test", "allowed"), NOW)
        finally:
            own.close()

    writers = [threading.Thread(target=write) for _ in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    with database.snapshot() as conn:
        made = conn.execute(select(func.count()).where(records.c.record.contains("wherry/test"))).scalar_one()
        assert made == 80
        assert audit.verify(conn) is None
