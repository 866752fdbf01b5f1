"""Every call to a store fails once, in every way of a list: a copy ends equal or says why not, and says it right.

The oracle is what the stores in memory hold, looked at apart from the engine.  Whatever failed: no row is wrong about
its item, no file is a mixture or half of one, nothing vanishes that the source has, the source is never written to,
and the next copy finds it all well.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.between import between
from tests.logged import LoggedRows
from wherry.engine import copy as engine
from wherry.engine.copy import Report
from wherry.model.entry import Kind
from wherry.model.errors import (
    CODES,
    Conflict,
    Corrupt,
    Denied,
    Full,
    NotFound,
    StoreError,
    Unavailable,
)
from wherry.model.options import CopyMode, JobOptions, Verify
from wherry.model.outcomes import Outcome, Row
from wherry.model.run import RunStatus
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Fence, Store, StoreSpec
from wherry.stores.wrap.fault import Call, Fault, FaultStore

Item = tuple[Kind, bytes, int | None, int | None]
Shape = dict[bytes, Item]

FOR_GOOD = 1 << 30
STALE = (b"stale", b"a/stale", b"old", b"old/x")
_serial = itertools.count()

FLAVOURS: dict[str, dict[str, Any]] = {
    "folders": {},
    "parts": {"folders": "markers", "put_limit": 8, "part_size": 4},
    "unordered": {"order": "none"},
}
SOON = 0.01


def _fault(error: Callable[[], StoreError], **more: Any) -> Callable[[int], Fault]:
    return lambda nth: Fault("*", nth=nth, error=error(), **more)


TARGET_KINDS = {
    "request lost": _fault(lambda: Unavailable("timed out before it was sent")),
    "answer lost": _fault(lambda: Unavailable("timed out, nobody knows"), after=True),
    "reset in the middle": _fault(lambda: Unavailable("connection reset"), halfway=True),
    "told to wait": _fault(lambda: Unavailable("busy", SOON)),
    "another etag": _fault(lambda: Conflict("it is not what was seen")),
    "another etag after the effect": _fault(lambda: Conflict("it is not what was seen"), after=True),
    "refused": _fault(lambda: Denied("403")),
    "full": _fault(lambda: Full("no space")),
    "damaged on its way": _fault(lambda: Corrupt("the checksum is another one")),
    "gone for good": _fault(lambda: Unavailable("no route"), times=FOR_GOOD),
    "answers lost for good": _fault(lambda: Unavailable("nobody knows"), after=True, times=FOR_GOOD),
}
SOURCE_KINDS = {
    "request lost": _fault(lambda: Unavailable("timed out")),
    "broken off": _fault(lambda: Unavailable("connection reset"), halfway=True),
    "refused": _fault(lambda: Denied("403")),
    "vanished": _fault(lambda: NotFound("no such item")),
    "gone for good": _fault(lambda: Unavailable("no route"), times=FOR_GOOD),
    "it ends early": lambda nth: Fault("open", nth=nth, extra=-1),
    "it goes on": lambda nth: Fault("open", nth=nth, extra=1),
}


@dataclass
class Scene:
    """A source and a target in memory, with what is to fail and what was called."""

    patch: pytest.MonkeyPatch
    flavour: dict[str, Any] = field(default_factory=dict)
    number: int = field(default_factory=lambda: next(_serial))
    scripts: dict[str, list[Fault]] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    rows: LoggedRows = field(default_factory=LoggedRows)

    def __post_init__(self) -> None:
        self.source, self.target = self._store("source"), self._store("target")
        for path, data in (
            (b"a/one", b"123456789"), (b"a/two", b""), (b"a/deep/three", b"3" * 40), (b"large", b"0123456789" * 3),
            (b"same", b"same"), (b"\xff\n", b"odd"),
        ):  # fmt: skip
            self.source.seed(path, data, modified=1_000 + len(path))
        self.source.seed(b"empty", kind=Kind.FOLDER, modified=5)
        self.source.seed(b"link", b"a/one", Kind.LINK, modified=6)
        self.source.make_link(b"z-twin", b"same", None)
        for path, data in ((b"a/two", b"before"), *((path, b"gone") for path in STALE if path != b"old")):
            self.target.seed(path, data, modified=77)
        self.before = shape(self.target)
        self.wanted = shape(self.source)

    def name(self, side: str) -> str:
        return f"fault-{side}-{self.number}"

    def _store(self, side: str) -> MemoryStore:
        return MemoryStore(self.name(side), **(self.flavour if side == "target" else {}))

    def copy(
        self, source: list[Fault] | None = None, target: list[Fault] | None = None, **options: Any
    ) -> Report:
        self.scripts = {self.name("source"): source or [], self.name("target"): target or []}
        self.calls = {name: [] for name in self.scripts}
        self.rows = LoggedRows()
        places = StoreSpec("memory", self.name("source")), StoreSpec("memory", self.name("target"))
        wanted = JobOptions(**{"mode": CopyMode.MIRROR, "max_delete": 1000, **options})
        with self.patch.context() as patch:
            between(patch, self._wrapped)
            return engine.copy(*places, wanted, workers=0, log=self.rows.take)

    def _wrapped(self, spec: StoreSpec, opened: Store) -> Store:
        assert isinstance(opened, MemoryStore)
        fence: Fence = opened._fence
        side = "target" if spec.location == self.name("target") else "source"
        flavour = self.flavour if side == "target" else {}
        store = FaultStore(MemoryStore(spec.location, fence=fence, **flavour))
        store.script, store.calls = self.scripts[spec.location], self.calls[spec.location]
        return store

    def moved(self) -> set[bytes]:
        """What was not deleted because it seemed to be another version than the one that was seen."""
        faults = self.scripts[self.name("target")]
        if not any(isinstance(fault.error, Conflict) for fault in faults):
            return set()
        calls = self.calls[self.name("target")]
        return {call.path for call in calls if call.method == "remove" and not call.done}

    def written(self, side: str) -> Counter[tuple[str, bytes]]:
        """How often each path was changed by each method."""
        recorder = FaultStore(MemoryStore())
        recorder.calls = self.calls[self.name(side)]
        return Counter((call.method, call.path) for call in recorder.written)


def shape(store: MemoryStore) -> Shape:
    """What a store holds: kind, bytes and metadata by path."""
    found: Shape = {}
    for path, data in store.paths().items():
        entry = store.stat(path)
        assert entry is not None
        found[path] = (entry.kind, data, entry.modified, entry.mode)
    return found


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    return lambda flavour="folders": Scene(monkeypatch, FLAVOURS[flavour])


def judge(scene: Scene, report: Report) -> None:
    """What must hold after any copy, however it went."""
    there = shape(scene.target)
    assert shape(scene.source) == scene.wanted
    assert not scene.written("source")
    broken_off = report.end.code not in ("", "AZSM1046")
    told = Counter(row.path for row in scene.rows)
    assert set(told.values()) <= {1}, told
    for row in scene.rows:
        assert row.code in CODES
        if row.outcome in (Outcome.TRANSFERRED, Outcome.NO_TRANSFER_NEEDED):
            # A folder gets its times last of all, after what a run that was broken off came to.
            open_ended = broken_off or row.path + b"/" in told
            length = 1 if row.kind is Kind.FOLDER and open_ended else None
            assert there[row.path][:length] == scene.wanted[row.path][:length], row
        elif row.outcome is Outcome.FAILED:
            assert row.detail
            assert CODES[row.code].disposition == "fail_item", row
        else:
            assert row.outcome is Outcome.DELETED
            assert row.path in set(STALE) - set(there), row
    for path, item in there.items():
        assert item[1] in {of[path][1] for of in (scene.before, scene.wanted) if path in of}, path
    assert set(scene.before) - set(there) <= set(STALE)
    counted = report.counters.items
    if not broken_off:
        ended = {row.path: row.outcome for row in scene.rows if row.outcome is not Outcome.DELETED}
        assert counted.get("Scanned") == report.counters.settled == len(ended)
        assert bool(report.end.code) == bool(counted.get("Failed"))
        unseen = set(scene.wanted) - set(ended)
        # What lies in a folder that could not be listed; the folder says so, or a row of its rest.
        assert all(any(ended.get(above) is Outcome.FAILED for above in _above(path)) for path in unseen), (
            unseen
        )
    if report.end.status is RunStatus.SUCCEEDED:
        # Mirror leaves alone what is not what it was when it was seen.
        left = {path for path in scene.moved() if path not in scene.wanted}
        assert {path: item for path, item in there.items() if path not in left} == scene.wanted
    else:
        assert report.end.status is RunStatus.FAILED
        assert CODES[report.end.code].scope == "run"
        assert report.end.message


def _above(path: bytes) -> list[bytes]:
    pieces = path.split(b"/")
    folders = [b"/".join(pieces[:count]) for count in range(1, len(pieces))]
    return [*folders, *(folder + b"/" for folder in folders)]


def _all_calls(
    scenes: Callable[..., Scene], flavour: str, side: str, fault: Callable[[int], Fault]
) -> Iterator[int]:
    for nth in itertools.count(1):
        scene = scenes(flavour)
        script = [fault(nth)]
        report = scene.copy(**{side: script})
        if not script[0].struck:
            assert nth > 5, "hardly any call was made"
            assert report.end.status is RunStatus.SUCCEEDED
            return
        judge(scene, report)
        if script[0].times == 1:
            # What was applied although nobody said so is found there, not done once more.
            done = scene.written("target")
            assert all(count == 1 for (method, _), count in done.items() if method in ("put", "publish")), (
                done
            )
        again = scene.copy()
        judge(scene, again)
        assert again.end.status is RunStatus.SUCCEEDED, again.end
        yield nth


@pytest.mark.parametrize("kind", TARGET_KINDS)
@pytest.mark.parametrize("flavour", ["parts", pytest.param("folders", marks=pytest.mark.long)])
def test_any_call_to_the_target_fails(scenes: Callable[..., Scene], flavour: str, kind: str) -> None:
    assert sum(1 for _ in _all_calls(scenes, flavour, "target", TARGET_KINDS[kind])) > 10


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_any_call_to_the_source_fails(scenes: Callable[..., Scene], kind: str) -> None:
    assert sum(1 for _ in _all_calls(scenes, "folders", "source", SOURCE_KINDS[kind])) > 5


def _alone(scene: Scene, path: bytes) -> Row:
    """The row of the only item that failed."""
    failures = [row for row in scene.rows if row.outcome is Outcome.FAILED]
    assert [row.path for row in failures] == [path], scene.rows
    return failures[0]


SIZES = {"nothing": 0, "some": 5, "parts": 8 * 3 + 1}


@pytest.mark.parametrize("verify", [Verify.SOURCE, Verify.NONE])
@pytest.mark.parametrize(
    ("size", "extra"),
    [(size, extra) for size in SIZES for extra in (-1, -5, 1, 1 << 40) if SIZES[size] + extra >= 0],
)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_file_that_is_shorter_or_longer_than_was_told_never_arrives(scenes, flavour, size, extra, verify):
    """Neither cut off nor filled up with zeros; of an endless one no more is read than shows that it is too long."""
    scene = scenes(flavour)
    scene.source.seed(b"wrong", b"w" * SIZES[size], modified=4)
    scene.wanted = shape(scene.source)

    report = scene.copy(source=[Fault("open", "wrong", extra=extra, times=FOR_GOOD)], verify=verify)

    judge(scene, report)
    row = _alone(scene, b"wrong")
    assert (row.code, CODES[row.code].message) == ("AZSM2071", "The source changed while it was copied.")
    assert b"wrong" not in scene.target.paths()
    assert report.counters.items["Failed"] == 1


@pytest.mark.parametrize("extra", [-1, 1])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_what_the_target_had_before_outlives_a_source_that_cannot_be_read_rightly(scenes, flavour, extra):
    scene = scenes(flavour)
    scene.target.seed(b"large", b"version before", modified=3)
    scene.before = shape(scene.target)

    judge(scene, scene.copy(source=[Fault("open", "large", extra=extra, times=FOR_GOOD)]))

    assert _alone(scene, b"large").code == "AZSM2071"
    assert scene.target.paths()[b"large"] == b"version before"


@pytest.mark.parametrize("path", [b"a/one", b"large"])
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_bit_that_turns_is_found_by_reading_back(scenes, flavour, path, side):
    """Read wrongly once, or stored as something else: the two readings differ, and nothing wrong stays."""
    scene = scenes(flavour)
    name = path.decode()
    wrong = {
        "source": [Fault("open", name, damage=3)],
        "target": [Fault("put", name, damage=3), Fault("stage", name, damage=3)],
    }[side]

    report = scene.copy(**{side: wrong}, verify=Verify.READBACK)

    judge(scene, report)
    assert any(fault.struck for fault in wrong)
    held = scene.target.paths()
    if report.end.status is RunStatus.FAILED:
        assert _alone(scene, path).code == "AZSM2074"
        assert path not in held
        # Parts that were damaged must not be what the next attempt goes on with.
        assert scene.copy(verify=Verify.READBACK).end.status is RunStatus.SUCCEEDED
        held = scene.target.paths()
    assert held[path] == scene.wanted[path][1]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_without_reading_back_a_turned_bit_passes_which_is_what_the_option_is_for(scenes, flavour):
    scene = scenes(flavour)

    report = scene.copy(target=[Fault("put", "a/one", damage=3), Fault("stage", "a/one", damage=3)])

    assert report.end.status is RunStatus.SUCCEEDED
    assert scene.target.paths()[b"a/one"] == b"123556789"


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_source_that_changes_at_that_very_moment_is_copied_whole_or_not_at_all(scenes, flavour):
    """Another version appears right before each call that the engine makes of it."""
    seen = {scenes(flavour).wanted[b"large"][1]}
    for method in ("open", "stat", "list"):
        scene = scenes(flavour)
        data = method.encode() * 9

        def change(_: bytes, scene: Scene = scene, data: bytes = data) -> None:
            scene.source.seed(b"large", data, modified=9_999)

        report = scene.copy(source=[Fault(method, "*large" if method != "list" else "*", act=change)])

        scene.wanted = shape(scene.source)
        held = scene.target.paths().get(b"large")
        if report.end.status is RunStatus.SUCCEEDED:
            assert held in (data, *seen)
        else:
            assert _alone(scene, b"large").code == "AZSM2071"
            assert held is None
        assert scene.copy().end.status is RunStatus.SUCCEEDED
        assert scene.target.paths()[b"large"] == scene.source.paths()[b"large"]
