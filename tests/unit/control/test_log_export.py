"""A whole copy log as a file: every form holds the same rows, none is in memory as a whole, and formulas are text."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyarrow import parquet  # type: ignore[import-untyped]
from sqlalchemy import insert

from tests.unit.control.callers import ARM, Cast
from tests.unit.control.casting import assembled, at_work
from tests.unit.control.conftest import START, URL, Made, app_of
from tests.unit.control.stage import MOVER, SUBSCRIPTION
from wherry.control import log_export
from wherry.control.db.tables_ledger import segments
from wherry.control.dispatch import Dispatch
from wherry.control.logs import SEGMENTS, LogStore, RowFilter
from wherry.model.entry import Kind
from wherry.model.outcomes import Outcome, Row, encode_rows, segment_name

ODD = [
    Row(START + 0.25, Kind.FILE, Outcome.TRANSFERRED, "AZSM0000", 7, b'a,"b"'),
    Row(START, Kind.FILE, Outcome.FAILED, "AZSM2062", 9, b"=HYPERLINK(1)", "@SUM(1)\nline, two"),
    Row(START, Kind.FOLDER, Outcome.FAILED, "AZSM2062", 0, b"line\nbreak\xff", "why"),
]


@pytest.fixture(scope="module")
def cast(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with assembled(made, tmp_path_factory.mktemp("export")) as cast:
        cast.plane.subscription = SUBSCRIPTION
        yield cast


def keep(cast: Cast, store: LogStore, logged: list[list[Row]]) -> None:
    """Put these segments in place of what the run's log had."""
    run = cast.names["run"]
    with cast.plane.database.transaction() as conn:
        conn.execute(segments.delete())
        for number, rows in enumerate(logged, 1):
            body = encode_rows(rows)
            name = segment_name(run, 1, 1, number, body)
            store.put(name, body)
            conn.execute(insert(segments).values(run=run, name=name, rows=len(rows)))


async def exported(cast: Cast, kind: str = "owner", **query: str) -> httpx.Response:
    with cast.plane.database.snapshot() as conn:
        found = conn.exec_driver_sql("SELECT resource_id FROM runs").scalar_one()
    assert str(found).startswith(MOVER)
    headers = {"authorization": f"Bearer {cast.callers[kind].tokens[ARM]}"}
    transport = httpx.ASGITransport(app_of(cast.plane))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        told = {"api-version": "2025-12-01"} | query
        return await client.get(f"{found}/exportCopyLogs", params=told, headers=headers)


async def test_every_form_holds_the_same_rows_of_many_segments(cast: Cast, tmp_path: Path) -> None:
    many = [Row(START, Kind.FILE, Outcome.TRANSFERRED, "AZSM0000", 1, b"f%d" % n) for n in range(25_000)]
    small = [[row] for row in many[-SEGMENTS - 10 :]]
    logged = [ODD, many[: -SEGMENTS - 10], *small]
    with at_work(cast.plane, tmp_path):
        keep(cast, cast.plane.part(Dispatch).logs, logged)
        lines = (await exported(cast, format="jsonl")).text.splitlines()
        table = await exported(cast)
        arrow = await exported(cast, format="PARQUET")
    told = [json.loads(line) for line in lines]
    assert len(told) == 25_003
    paths = [row["itemPath"] for row in told]
    assert paths[3:] == [row.path.decode() for row in many]

    assert table.headers["content-type"].startswith("text/csv")
    assert table.headers["content-disposition"] == 'attachment; filename="copy-log.csv"'
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["itemPath"] for row in rows[3:]] == paths[3:]
    assert [row["itemPath"] for row in rows[:3]] == [paths[0], r"\x3dHYPERLINK(1)", paths[2]]
    assert rows[1]["details"] == r"\x40SUM(1)\x0aline, two"
    assert rows[0] == {name: str(told[0].get(name, "")) for name in log_export.COLUMNS}

    found = parquet.read_table(io.BytesIO(arrow.content)).to_pylist()
    assert [row["itemPath"] for row in found] == paths
    assert [row["fileSize"] for row in found] == [row["fileSize"] for row in told]
    assert found[1]["details"] == "@SUM(1)\nline, two"
    assert found[0]["timeGenerated"].timestamp() == START + 0.25
    assert {row["jobRunName"] for row in found} == {cast.names["run"]}


async def test_filters_a_log_without_rows_and_what_is_asked_wrongly(cast: Cast, tmp_path: Path) -> None:
    with at_work(cast.plane, tmp_path):
        store = cast.plane.part(Dispatch).logs
        keep(cast, store, [ODD])
        failed = await exported(cast, outcome="failed", text="WHY", format="jsonl")
        assert [json.loads(line)["details"] for line in failed.text.splitlines()] == ["why"]
        keep(cast, store, [])
        assert (await exported(cast)).text.split() == [",".join(log_export.COLUMNS)]
        empty = await exported(cast, format="parquet")
        assert parquet.read_table(io.BytesIO(empty.content)).num_rows == 0
        assert (await exported(cast, format="xlsx")).json()["error"]["target"] == "format"
        assert (await exported(cast, kind="no-role")).status_code == 403


async def test_no_more_than_a_segment_is_read_ahead_of_what_is_sent(cast: Cast, tmp_path: Path) -> None:
    opened: list[str] = []

    class Watched(LogStore):
        def rows(self, name: str) -> Iterator[Row]:
            opened.append(name)
            return super().rows(name)

    store = Watched(tmp_path / "watched")
    keep(cast, store, [[row] for row in ODD])
    run = cast.names["run"]
    sent = 0
    async for _ in log_export.pieces(cast.plane.database, store, run, RowFilter(), log_export.JsonLines(run)):
        sent += 1
        assert len(opened) == sent
    assert sent == 3


async def test_without_pyarrow_parquet_is_refused_with_what_to_do(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: Any = None
    monkeypatch.setitem(sys.modules, "pyarrow", gone)
    with at_work(cast.plane, tmp_path):
        refused = await exported(cast, format="parquet")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "FormatNotAvailable")
