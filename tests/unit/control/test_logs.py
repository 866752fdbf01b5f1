"""The log store: whole segments or none, and pages of rows over any number of them."""

from __future__ import annotations

import gzip
import hashlib
import os
import uuid
from pathlib import Path

import pytest

from wherry.control import logs
from wherry.control.logs import LogStore, Named, Place, RowFilter
from wherry.model.entry import Kind
from wherry.model.errors import ApiError
from wherry.model.outcomes import Outcome, Row, encode_rows

RUN = str(uuid.UUID(int=1))


def name_of(body: bytes, seq: int = 1) -> str:
    return f"{RUN}/3/1/{seq}-{hashlib.sha256(body).hexdigest()}"


def row(path: bytes, outcome: Outcome = Outcome.TRANSFERRED, code: str = "AZSM0000", detail: str = "") -> Row:
    return Row(1.0, Kind.FILE, outcome, code, 5, path, detail)


@pytest.fixture
def store(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "segments")


def filled(store: LogStore, *segments: list[Row]) -> list[Named]:
    found = []
    for seq, rows in enumerate(segments, 1):
        body = encode_rows(rows)
        store.put(name_of(body, seq), body)
        found.append(Named(seq * 10, name_of(body, seq)))
    return found


def everything(store: LogStore, found: list[Named], wanted: RowFilter, limit: int) -> list[list[bytes]]:
    """The paths of all pages."""
    pages, after = [], Place()
    while True:
        rest = [one for one in found if one.number >= after.segment][: logs.SEGMENTS]
        rows, following = logs.page(store, rest, after, wanted, limit)
        pages.append([one.path for one in rows])
        if following is None:
            return pages
        after = following


@pytest.mark.parametrize("time", ["1e300", "nan", "inf", "-1e12"])
def test_a_time_that_nobody_could_show_is_refused(store: LogStore, time: str) -> None:
    body = gzip.compress(f"{time}\tF\tTransferred\tAZSM0000\t1\tname\t\n".encode())
    with pytest.raises(ApiError, match="cannot be read"):
        store.put(name_of(body), body)
    assert not store.has(name_of(body))


def test_what_was_put_is_read_and_putting_again_does_nothing(store: LogStore, tmp_path: Path) -> None:
    rows = [row(b"a"), row(b"\xff\n\t", detail="tab\there")]
    body = encode_rows(rows)
    name = name_of(body)
    assert not store.has(name)
    store.put(name, body)
    store.put(name, body)
    assert store.has(name)
    assert list(store.rows(name)) == rows
    assert store.runs() == [RUN]
    files = [one for one in (tmp_path / "segments").rglob("*") if one.is_file()]
    assert [one.name for one in files] == [name.rpartition("/")[2]]
    store.forget(RUN)
    assert list(store.rows(name)) == []


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        f"{RUN}/1/1/1-{'0' * 63}",
        f"{RUN}/1/1/../1-{'0' * 64}",
        f"{RUN}/1/1/1-{'0' * 64}\n",
        "",
    ],
)
def test_names_lead_nowhere_else(store: LogStore, name: str) -> None:
    for attempt in (lambda: store.put(name, b""), lambda: store.has(name), lambda: store.rows(name)):
        with pytest.raises(ApiError) as refused:
            attempt()
        assert refused.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not gzip",
        gzip.compress(b"too\tfew\n"),
        encode_rows([row(b"a")])[:-3],
        encode_rows([row(b"a")]) + b"more",
        gzip.compress(b"1.0\tF\tNoSuchOutcome\tAZSM0000\t1\ta\t\n"),
        gzip.compress(b"0" * 5000),
    ],
    ids=["empty", "no gzip", "no rows", "cut off", "two streams", "unknown outcome", "bomb"],
)
def test_attack_63_segments_that_would_harm_readers_are_refused(
    store: LogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(logs, "LARGEST_PLAIN", 4000)
    with pytest.raises(ApiError) as refused:
        store.put(name_of(body), body)
    assert (refused.value.status, refused.value.code) == (400, "InvalidSegment")
    assert list((tmp_path / "segments").iterdir()) == []


def test_a_digest_that_is_another_one_is_refused(store: LogStore) -> None:
    with pytest.raises(ApiError):
        store.put(name_of(b"other"), encode_rows([row(b"a")]))


def test_a_full_disk_leaves_nothing(store: LogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    body = encode_rows([row(b"a")])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put(name_of(body), body)
    monkeypatch.undo()
    assert not store.has(name_of(body))
    assert [one for one in (tmp_path / "segments").rglob("*") if one.is_file()] == []


def test_pages_hold_every_row_once(store: LogStore) -> None:
    rows = [row(b"%03d" % n) for n in range(25)]
    found = filled(store, rows[:7], [], rows[7:20], rows[20:])
    for limit in (1, 6, 7, 25, 100):
        pages = everything(store, found, RowFilter(), limit)
        assert [path for page in pages for path in page] == [one.path for one in rows]
        assert all(len(page) <= limit for page in pages)


def test_a_page_looks_at_a_bounded_number_of_rows(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_ROWS_SEEN", 10)
    found = filled(store, [row(b"%03d" % n) for n in range(35)], [row(b"bad", Outcome.FAILED)])
    pages = everything(store, found, RowFilter(Outcome.FAILED), 5)
    assert pages == [[], [], [], [b"bad"]]


def test_more_segments_than_a_page_looks_at(store: LogStore) -> None:
    found = filled(store, *([row(b"%03d" % n)] for n in range(logs.SEGMENTS + 3)))
    pages = everything(store, found, RowFilter(), 1000)
    assert [len(page) for page in pages] == [logs.SEGMENTS, 3]


def test_filters(store: LogStore) -> None:
    rows = [
        row(b"a/1"),
        row(b"a/2", Outcome.FAILED, "AZSM2062", "Permission DENIED"),
        row(b"b\xff", Outcome.UNSUPPORTED, "AZSM2022"),
    ]
    found = filled(store, rows)
    for wanted, paths in (
        (RowFilter(outcome=Outcome.FAILED), [b"a/2"]),
        (RowFilter(code="AZSM2022"), [b"b\xff"]),
        (RowFilter(prefix=b"a/"), [b"a/1", b"a/2"]),
        (RowFilter(prefix=b"b\xff"), [b"b\xff"]),
        (RowFilter(text="denied"), [b"a/2"]),
        (RowFilter(text="\\xFF"), [b"b\xff"]),
        (RowFilter(Outcome.FAILED, "AZSM0000"), []),
    ):
        assert everything(store, found, wanted, 10) == [paths]


def test_a_row_in_the_columns_of_the_original() -> None:
    assert logs.document("run", row(b"a\n", Outcome.FAILED, "AZSM2062", "why")) == {
        "timeGenerated": "1970-01-01T00:00:01.000000Z",
        "jobRunName": "run",
        "itemPath": "a\\x0a",
        "itemType": "F",
        "fileSize": 5,
        "transferResult": "Failed",
        "statusCode": "AZSM2062",
        "details": "why",
    }
