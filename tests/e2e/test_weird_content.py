"""Odd content: files larger than any disk, times of any age, metadata in no alphabet of ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.logged import LoggedRows
from tests.lying_store import BODY, lying_store
from wherry.engine.copy import Report, copy
from wherry.model.options import JobOptions
from wherry.model.outcomes import Outcome, Row
from wherry.model.run import RunStatus
from wherry.stores.memory import MemoryStore
from wherry.stores.port import StoreSpec

TIB = 1 << 40
BLOCK = 4096
SECOND = 10**9


def copied(source: StoreSpec, target: StoreSpec, **options: bool) -> tuple[Report, dict[bytes, Row]]:
    rows = LoggedRows()
    report = copy(source, target, JobOptions(**options), workers=0, log=rows.take)  # type: ignore[arg-type]
    return report, {row.path: row for row in rows}


def folder(path: Path) -> StoreSpec:
    path.mkdir(exist_ok=True)
    return StoreSpec("posix", str(path))


def object_store(kind: str, port: int) -> StoreSpec:
    place = f"http://127.0.0.1:{port}/place"
    return StoreSpec(kind, place, secret="sig=x", identity="identity" if kind == "s3" else "")


# ---------------------------------------------------------------- size


def as_large_as_can_be(path: Path) -> int:
    """A file of 16 TiB of nothing, or of as much as the file system lets one have."""
    with path.open("wb") as file:
        for size in (16 * TIB, 16 * TIB - BLOCK, 8 * TIB, TIB):
            try:
                file.truncate(size)
            except OSError:
                continue
            return size
    pytest.skip("the file system holds no large files")


def test_attack_67_a_file_of_sixteen_tebibytes_of_nothing_is_a_small_one(tmp_path: Path) -> None:
    source, target = folder(tmp_path / "source"), folder(tmp_path / "target")
    size = as_large_as_can_be(tmp_path / "source/huge")
    pieces = {0: b"begin", size // 2: b"middle", size - 3: b"end"}
    with (tmp_path / "source/huge").open("r+b") as file:
        for place, data in pieces.items():
            file.seek(place)
            file.write(data)

    report, _ = copied(source, target)

    assert report.end.status is RunStatus.SUCCEEDED
    assert report.counters.bytes["Transferred"] == size
    made = os.stat(tmp_path / "target/huge")
    assert (made.st_size, made.st_blocks * 512 < 1 << 20) == (size, True)
    with (tmp_path / "target/huge").open("rb") as file:
        for place, data in pieces.items():
            assert os.pread(file.fileno(), len(data), place) == data


def test_attack_67_what_is_too_large_for_a_bucket_is_told(tmp_path: Path) -> None:
    source = folder(tmp_path / "source")
    as_large_as_can_be(tmp_path / "source/huge")
    with lying_store([]) as server:
        _, told = copied(source, object_store("s3", server.port), dry_run=True)

    assert (told[b"huge"].outcome, told[b"huge"].code) == (Outcome.UNSUPPORTED, "AZSM2026")


# ---------------------------------------------------------------- times

TIMES = {
    b"1601": -11_644_473_600 * SECOND, b"before 1601": -62_135_596_800 * SECOND,
    b"9999": 253_402_300_799 * SECOND + 999_999_999,
    b"1969": -1, b"2038": (1 << 31) * SECOND, b"2106": (1 << 32) * SECOND, b"farthest": (1 << 63) - 1,
}  # fmt: skip


def test_attack_67_times_of_any_year_are_kept_or_told_and_come_to_rest(tmp_path: Path) -> None:
    """A file system that ends in 2446 keeps its last moment; the next run takes that for what it stands for."""
    source = MemoryStore("years")
    for name, modified in TIMES.items():
        source.seed(name, b"x", modified=modified)
    spec, target = StoreSpec("memory", "years"), folder(tmp_path / "target")
    _, planned = copied(spec, target, dry_run=True)

    first, _ = copied(spec, target)
    second, _ = copied(spec, target)

    assert first.counters.items == {"Scanned": len(TIMES), "Transferred": len(TIMES)}
    assert second.counters.items == {"Scanned": len(TIMES), "NoTransferNeeded": len(TIMES)}
    kept = {name: os.stat(os.path.join(os.fsencode(tmp_path / "target"), name)).st_mtime_ns for name in TIMES}
    for name, modified in TIMES.items():
        assert kept[name] == modified or "times" in planned[name].detail, name
    # Another time than the one that was not held is another time.
    source.seed(b"9999", b"y", modified=5 * SECOND)
    third, _ = copied(spec, target)
    assert third.counters.items["Transferred"] == 1


# ---------------------------------------------------------------- metadata

STRANGE = {
    "mtime": "\u00e9\u00fc", "modtime": "9" * 40, "permissions": "\u00b2\u00b3", "owner": "-1", "group": "1e9",
    "uid": "\u00bd",
    "posix_mtime": "NaN", "hdi_isfolder": "\u00e4", "is_symlink": "\u00df",
    "note": "\u00ff\u00fe\u00a0 caf\u00e9 \u0080",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["blob", "s3"])
def test_attack_67_metadata_in_no_alphabet_of_ours_harms_nothing(tmp_path: Path, kind: str) -> None:
    with lying_store([b"file", b"folder/file"], metadata=STRANGE) as server:
        report, _ = copied(object_store(kind, server.port), folder(tmp_path / "target"))

    assert report.end.status is RunStatus.SUCCEEDED
    assert (tmp_path / "target/file").read_bytes() == (tmp_path / "target/folder/file").read_bytes() == BODY
