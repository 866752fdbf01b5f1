"""A log says the same in each form, whatever is in a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.cli import copy_log
from wherry.cli.copy_log import COLUMNS, Codes, CopyLog
from wherry.model import names
from wherry.model.entry import Kind
from wherry.model.errors import UsageError
from wherry.model.outcomes import Outcome, Row, lines_of

ROWS = st.lists(
    st.builds(
        Row,
        # Often the same, as in a log.
        time=st.sampled_from([0.0, 1.5]) | st.floats(0, 2_000_000_000),
        kind=st.sampled_from(Kind),
        outcome=st.sampled_from(Outcome),
        code=st.sampled_from(["AZSM0000", "AZSM2041", "AZSM2062"]),
        size=st.integers(0, 2**62),
        path=st.binary(min_size=1, max_size=30),
        detail=st.just("") | st.text(max_size=20),
    ),
    min_size=1,
    max_size=20,
)


def written(file: Path, rows: list[Row]) -> None:
    log = CopyLog()
    with copy_log.opened(file) as taker:
        log.to(taker)
        log(lines_of(rows[1:]))
        log(lines_of(rows[:1]))


def inert(text: str) -> str:
    """As a cell has to be that no program for tables takes for a formula."""
    return f"\\x{ord(text[0]):02x}{text[1:]}" if text[:1] in tuple("=+-@") else text


def expected(row: Row) -> tuple[str, str, int, str, str, str]:
    detail = names.escape(row.detail.encode("utf-8", "replace"))
    return names.escape(row.path), str(row.kind), row.size, str(row.outcome), row.code, detail


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ROWS)
def test_each_form_says_the_same(tmp_path: Path, rows: list[Row]) -> None:
    from pyarrow import parquet  # type: ignore[import-untyped]

    for name in ("log.jsonl", "log.tsv", "log.parquet"):
        written(tmp_path / name, rows)
    wanted = sorted(expected(row) for row in rows)

    told = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sorted((*(row[name] for name in COLUMNS[1:-1]), row.get("details", "")) for row in told) == wanted
    table = parquet.read_table(tmp_path / "log.parquet")
    assert table.column_names == list(COLUMNS)
    assert sorted(tuple(row[name] for name in COLUMNS[1:]) for row in table.to_pylist()) == wanted
    fields = [line.split("\t") for line in (tmp_path / "log.tsv").read_text().splitlines()]
    assert sorted((f[5], f[3], int(f[4]), f[1], f[2], f[6]) for f in fields) == sorted(
        (inert(path), kind, size, outcome, code, inert(detail))
        for path, kind, size, outcome, code, detail in map(expected, rows)
    )


@pytest.mark.parametrize("name", ["=1+1", "+1", "-2+3", "@SUM(A1)", '=cmd|"/c calc"!A1', "=a/=b"])
def test_attack_61_no_cell_is_a_formula(tmp_path: Path, name: str) -> None:
    row = Row(1.0, Kind.FILE, Outcome.FAILED, "AZSM2000", 1, name.encode(), f"{name}: refused")
    written(tmp_path / "log.tsv", [row, row._replace(path=b"plain", detail="")])

    second, first = [line.split("\t") for line in (tmp_path / "log.tsv").read_text().splitlines()]

    assert not [cell for cell in first + second if cell.startswith(("=", "+", "-", "@"))]
    assert (names.unescape(first[5]), names.unescape(first[6])) == (row.path, row.detail.encode())
    assert (second[5], second[6]) == ("plain", "")


def test_times_are_those_of_the_api(tmp_path: Path) -> None:
    written(
        tmp_path / "log.jsonl", [Row(1_700_000_000.25, Kind.FILE, Outcome.TRANSFERRED, "AZSM0000", 1, b"x")]
    )

    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "timeGenerated": "2023-11-14T22:13:20.250Z", "itemPath": "x", "itemType": "F", "fileSize": 1,
        "transferResult": "Transferred", "statusCode": "AZSM0000",
    }  # fmt: skip


def test_nothing_to_tell_is_an_empty_log(tmp_path: Path) -> None:
    from pyarrow import parquet

    for name in ("log.jsonl", "log.tsv", "log.parquet"):
        with copy_log.opened(tmp_path / name) as taker:
            taker(b"")
    assert (tmp_path / "log.jsonl").read_bytes() == b""
    assert parquet.read_table(tmp_path / "log.parquet").num_rows == 0


def test_without_pyarrow_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)

    with (
        pytest.raises(UsageError, match=r"pip install 'wherry\[parquet\]'"),
        copy_log.opened(tmp_path / "x.parquet"),
    ):
        pass
    assert not (tmp_path / "x.parquet").exists()


def test_codes_are_counted_by_segment() -> None:
    log, codes = CopyLog(), Codes()
    assert not log
    log.to(codes)
    assert log
    rows = [Row(1, Kind.FILE, Outcome.FAILED, "AZSM2062", 1, b"\tAZSM2041\t", "no") for _ in range(3)]
    log(lines_of([*rows, rows[0]._replace(code="AZSM0000")]))

    assert codes.counts == {"AZSM2062": 3, "AZSM0000": 1}
