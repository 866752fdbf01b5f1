"""The hash chain: every change to it is noticed."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, text

from wherry.control import audit
from wherry.control.audit import Counters, Record
from wherry.control.db.tables_audit import audit as table


@pytest.fixture
def conn(plane):
    with plane.database.transaction() as conn:
        for number in range(5):
            audit.append(conn, Record(f"action {number}", "allowed", reason="é\n"), float(number))
        yield conn


def test_records_are_numbered_and_in_order(conn):
    assert [record["seq"] for record in audit.records(conn)] == [1, 2, 3, 4, 5]
    assert [record["seq"] for record in audit.records(conn, after=3)] == [4, 5]
    assert audit.verify(conn) is None


@pytest.mark.parametrize(
    ("tampering", "noticed"),
    [
        ("UPDATE audit SET record = replace(record, 'allowed', 'denied') WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("UPDATE audit SET seq = seq + 1 WHERE seq = 5", 5),
        ("UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 3) WHERE seq = 4", 4),
        ("DELETE FROM audit WHERE seq = 1", 1),
    ],
)
def test_tampering_is_noticed_where_it_begins(conn, tampering, noticed):
    conn.execute(text(tampering))
    assert audit.verify(conn) == noticed


def test_an_empty_chain_is_whole(conn):
    conn.execute(delete(table))
    assert audit.verify(conn) is None
    assert audit.append(conn, Record("first", "allowed"), 0.0) == 1


def test_counts_of_a_minute_are_written_once_it_is_over(conn):
    counters = Counters()
    for now in (0.0, 59.0, 60.0):
        counters.count(None, "read", "denied", now)
    assert counters.flush(conn, 59.9) == 0
    assert counters.flush(conn, 61.0) == 1
    assert counters.flush(conn, 61.0, everything=True) == 1
    assert counters.flush(conn, 1e9) == 0
    counted = [record for record in audit.records(conn) if record["result"] == "counted"]
    assert [(record["count"], record["details"]["minute"]) for record in counted] == [(2, 0), (1, 60)]
