"""A place that refuses everything ends the run; one that refuses an item does not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.between import between
from tests.logged import LoggedRows
from wherry.engine.copy import Report, copy
from wherry.engine.places import Doubt
from wherry.model.errors import (
    Conflict,
    Corrupt,
    Denied,
    Full,
    NotFound,
    RunError,
    SourceFailed,
    StoreError,
    Unavailable,
    Unsafe,
)
from wherry.model.options import JobOptions
from wherry.model.run import RunStatus
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Root, Store, StoreSpec
from wherry.stores.wrap.fault import Fault, FaultStore

FOR_GOOD = 1 << 30
FILES = 30


class Rights(MemoryStore):
    """A target that is asked whether it takes any change."""

    refusal: StoreError | None = None
    asked = 0

    def check_rights(self) -> None:
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def places() -> tuple[MemoryStore, Rights]:
    return MemoryStore("doubt-source"), Rights("doubt-target")


def doubted(places: tuple[MemoryStore, Rights], error: StoreError, **options: Any) -> tuple[str, str] | None:
    try:
        Doubt(*places, **options).weigh(error)
    except RunError as end:
        return end.code, end.detail
    return None


@pytest.mark.parametrize(
    "error", [Denied("a"), Conflict("a"), NotFound("a"), Unavailable("a"), SourceFailed("a"), Corrupt("a")]
)
def test_trouble_of_an_item_stays_its_own_where_the_places_are_well(places, error):
    assert doubted(places, error) is None


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Denied("403"), "AZSM1024"),
        (NotFound("404"), "AZSM1022"),
        (Unavailable("no route"), "AZSM1031"),
        (Unsafe("a link"), "AZSM1032"),
        (Conflict("it is being deleted"), "AZSM1040"),
    ],
)
def test_a_target_that_refuses_every_change_ends_the_run(places, refusal, code):
    places[1].refusal = refusal

    assert doubted(places, Denied("x")) == (code, f"{refusal}.")
    assert doubted(places, Corrupt("x")) is None
    assert doubted(places, Denied("x"), writes=False) is None


def test_no_space_is_everybodys_trouble(places):
    assert doubted(places, Full("x: No space left on device")) == (
        "AZSM1040",
        "No space is left on it: x: No space left on device.",
    )
    assert not places[1].asked


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (NotFound("gone"), "AZSM1001"),
        (Denied("closed"), "AZSM1003"),
        (Unavailable("stale"), "AZSM1020"),
    ],
)
def test_a_source_that_is_gone_ends_the_run(places, monkeypatch, trouble, code):
    def probe() -> Root:
        raise trouble

    monkeypatch.setattr(places[0], "probe", probe)

    assert doubted(places, SourceFailed("x")) == (code, f"{trouble}.")
    assert doubted(places, Denied("x")) is None


def test_a_place_that_is_well_is_not_asked_for_each_item(places):
    now = 0.0
    doubt = Doubt(*places, clock=lambda: now)
    for _ in range(1000):
        doubt.weigh(Denied("x"))
    assert places[1].asked == 1
    now = 2.0
    doubt.weigh(Denied("x"))
    assert places[1].asked == 2


def test_the_verdict_on_a_place_is_not_asked_for_by_each_thread(places):
    places[1].refusal = Unavailable("no route")
    doubt = Doubt(*places)
    for _ in range(64):
        with pytest.raises(RunError, match="no route"):
            doubt.weigh(Unavailable("x"))
    assert places[1].asked == 1


@pytest.fixture
def estate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Report, LoggedRows]]:
    """Copies some files to a target with troubles of its own."""

    def run(*script: Fault) -> tuple[Report, LoggedRows]:
        source = MemoryStore(f"estate-{id(script)}-source")
        for number in range(FILES):
            source.seed(b"%03d" % number, b"x", modified=1)
        target = f"estate-{id(script)}-target"

        def wrapped(spec: StoreSpec, store: Store) -> Store:
            return FaultStore(store, *script) if spec.location == target else store

        rows = LoggedRows()
        with monkeypatch.context() as patch:
            between(patch, wrapped)
            near = StoreSpec("memory", f"estate-{id(script)}-source")
            report = copy(near, StoreSpec("memory", target), JobOptions(), workers=0, log=rows.take)
        return report, rows

    return run


@pytest.mark.parametrize(
    ("first", "later", "code"),
    [
        (Denied("x: 403"), Denied("403 AccountIsDisabled"), "AZSM1024"),
        (NotFound("x: 404"), NotFound("404 ContainerNotFound"), "AZSM1022"),
        (Unavailable("x: no route"), Unavailable("no route"), "AZSM1031"),
        (Conflict("x: 409"), Conflict("409 ContainerBeingDeleted"), "AZSM1040"),
    ],
)
def test_a_target_that_goes_away_ends_the_run_with_one_error_and_no_failed_items(estate, first, later, code):
    # It is there when the copy begins.
    script = [Fault("put", nth=5, times=FOR_GOOD, error=first), Fault("stat", times=FOR_GOOD, error=later)]

    report, rows = estate(*script, Fault("probe", nth=2, times=FOR_GOOD, error=later))

    assert report.end.status is RunStatus.FAILED
    assert report.end.code == code
    assert str(later) in report.end.message
    assert not rows


def test_one_refused_item_is_that_items_failure(estate):
    report, rows = estate(Fault("put", "007", times=FOR_GOOD, error=Denied("007: 403")))

    assert report.end.code == "AZSM1046"
    assert report.counters.items == {"Scanned": FILES, "Transferred": FILES - 1, "Failed": 1}
    assert [row.path for row in rows if row.code == "AZSM2069"] == [b"007"]


def copied(source: Path, target: Path, **options: Any) -> Report:
    near, far = StoreSpec("posix", str(source)), StoreSpec("posix", str(target))
    return copy(near, far, JobOptions(**options), workers=0)


@pytest.mark.parametrize(("missing", "code"), [("source", "AZSM1001"), ("target", "AZSM1022")])
def test_a_place_that_is_not_there_is_told_by_the_code_of_its_side(tmp_path, missing, code):
    for name in {"source", "target"} - {missing}:
        (tmp_path / name).mkdir()

    end = copied(tmp_path / "source", tmp_path / "target").end

    assert end.code == code
    assert missing in end.message


def test_what_cannot_be_made_durable_ends_the_run(tmp_path, monkeypatch):
    for name in ("source", "target"):
        (tmp_path / name).mkdir()

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("wherry.stores.posix.sync_file_system", broken)

    assert copied(tmp_path / "source", tmp_path / "target").end.code == "AZSM1040"
