"""A source that is changed at every moment of its copy: the target never holds a mixture, and each end is explained.

The moments are the calls that the engine makes of an open source file; before each of them in turn the file is changed
in one of the ways that people and programs change files.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient, generate_container_sas

from tests import oracle
from tests.azurite import Azurite
from tests.between import between
from tests.logged import LoggedRows
from wherry.engine.copy import Report, copy
from wherry.model.options import Compare, JobOptions, Verify
from wherry.model.outcomes import Outcome
from wherry.model.run import RunStatus
from wherry.stores.port import Reader, Store, StoreSpec
from wherry.stores.wrap.fault import Fault, FaultStore

MIB = 1 << 20
# At once, by pieces, and in parts or ranges.
SIZES = {"small": 3000, "pieces": 3 * MIB + 5, "large": 9 * MIB + 1}
EXPLAINED = {"AZSM2071", "AZSM2073"}


class Watched:
    """A reader that tells each call before it is made."""

    def __init__(self, inner: Reader, told: Callable[[], None]) -> None:
        self._inner = inner
        self._told = told
        if hasattr(inner, "attributes"):
            self.attributes = inner.attributes

    def read_at(self, offset: int, size: int) -> bytes | memoryview:
        self._told()
        return self._inner.read_at(offset, size)

    def fileno(self) -> int | None:
        self._told()
        return self._inner.fileno()

    def entry(self) -> Any:
        self._told()
        return self._inner.entry()

    def close(self) -> None:
        self._inner.close()


@dataclass
class Changing:
    """A file that is changed once, at a moment, in a way; all its versions are known."""

    path: Path
    way: str
    moment: int
    versions: list[str] = field(default_factory=list)
    calls: int = 0

    def __post_init__(self) -> None:
        self._know()

    def _know(self) -> None:
        if self.path.exists():
            self.versions.append(hashlib.sha256(self.path.read_bytes()).hexdigest())

    def call(self) -> None:
        """The engine is about to do something with the file."""
        self.calls += 1
        if self.calls == self.moment:
            WAYS[self.way](self.path)
            self._know()

    def opened(self, reader: Reader) -> Reader:
        return Watched(reader, self.call)

    @property
    def changed(self) -> bool:
        return self.calls >= self.moment


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _rewrite(path: Path) -> None:
    """Other bytes of the same size at both ends, and the old time again."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"OTHER")
        file.seek(-5, os.SEEK_END)
        file.write(b"OTHER")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path: Path) -> None:
    """Another file of the same size and time takes its name."""
    before = path.stat()
    beside = path.with_name(path.name + " beside")
    beside.write_bytes(b"\x77" * before.st_size)
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    beside.rename(path)


def _empty_and_fill(path: Path) -> None:
    """As many programs save: truncated, then written anew."""
    size = path.stat().st_size
    path.write_bytes(b"\x66" * size)


WAYS: dict[str, Callable[[Path], None]] = {
    "grows": _grow, "shrinks": _shrink, "is rewritten, size and time as before": _rewrite,
    "is replaced by another": _replace, "is truncated and written anew": _empty_and_fill,
    "vanishes": lambda path: path.unlink(),
}  # fmt: skip


@dataclass
class Scene:
    """A source folder with one file that matters and one that only shows that others go on."""

    source: Path
    patch: pytest.MonkeyPatch
    target: StoreSpec
    held: Callable[[], oracle.Seen]
    rows: LoggedRows = field(default_factory=LoggedRows)

    def file(self, size: int) -> Path:
        path = self.source / "file"
        path.write_bytes(random.Random(size).randbytes(size))
        os.utime(path, ns=(0, 1_700_000_000_123_456_789))
        return path

    def copy(self, changing: Changing | None = None, **options: Any) -> Report:
        self.rows = LoggedRows()

        def opened(spec: StoreSpec, store: Store) -> Store:
            if changing is None or spec.location != str(self.source):
                return store
            always = 1 << 30
            script = [
                Fault("open", "file", times=always, act=lambda _: changing.call(), change=changing.opened)
            ]
            return FaultStore(store, *script)

        with self.patch.context() as patch:
            between(patch, opened)
            places = StoreSpec("posix", str(self.source)), self.target
            return copy(*places, JobOptions(**options), workers=0, log=self.rows.take)


@pytest.fixture(params=["folder", "container"])
def scenes(
    request: pytest.FixtureRequest, azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Scene]:
    number = 0

    def make() -> Scene:
        nonlocal number
        number += 1
        source, target = tmp_path / f"source-{number}", tmp_path / f"target-{number}"
        source.mkdir()
        (source / "other").write_bytes(b"other")
        if request.param == "folder":
            target.mkdir()
            return Scene(source, monkeypatch, StoreSpec("posix", str(target)), lambda: oracle.folder(target))
        client = azurite.container("changing")
        return Scene(source, monkeypatch, _spec(azurite, client), lambda: oracle.container(client))

    return make


def _spec(azurite: Azurite, client: ContainerClient) -> StoreSpec:
    end = datetime.now(UTC) + timedelta(hours=1)
    name = client.container_name
    sas = generate_container_sas(
        azurite.account, name, account_key=azurite.key, permission="rwdl", expiry=end
    )
    return StoreSpec("blob", f"{azurite.url}/{name}", secret=sas)


MOMENTS: dict[str, tuple[int, ...]] = {"small": (1, 2, 3, 4, 5, 6), "pieces": (3, 5), "large": (4,)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_changes_while_it_is_copied(scenes: Callable[[], Scene], size: str, way: str) -> None:
    for moment in MOMENTS[size]:
        scene = scenes()
        changing = Changing(scene.file(SIZES[size]), way, moment)
        report = scene.copy(changing)
        if not changing.changed:
            assert moment > 2, "it was hardly read"
            break
        _judge(scene, changing, report)
        # What the first pass could not know, the next one finds: by times, or by reading where those were put back.
        hidden = "as before" in way or "another" in way
        again = scene.copy(compare=Compare.CHECKSUM if hidden else Compare.TIME)
        assert again.end.status is RunStatus.SUCCEEDED, scene.rows
        if changing.path.exists():
            assert scene.held()[b"file"][:3] == oracle.folder(scene.source)[b"file"][:3]


def _judge(scene: Scene, changing: Changing, report: Report) -> None:
    rows = {row.path: row for row in scene.rows}
    assert len(rows) == len(scene.rows) == report.counters.items["Scanned"] == 2
    assert rows[b"other"].outcome is Outcome.TRANSFERRED
    row, held = rows[b"file"], scene.held().get(b"file")
    if row.outcome is Outcome.FAILED:
        assert row.code in EXPLAINED, row
        assert held is None, "what failed is not there"
    else:
        assert row.outcome is Outcome.TRANSFERRED
        assert held is not None
        assert held[2] in changing.versions, "a mixture"
        assert held[1] == row.size
        if changing.calls > changing.moment and changing.path.exists():
            assert held[2] == changing.versions[-1], "it was looked at after the change, which did not show"


@contextmanager
def _seen_by_the_system(patch: pytest.MonkeyPatch, folder: Path, changing: Changing) -> Iterator[None]:
    """Every system call for the file is a moment: what the engine does without asking a store for a reader, too."""
    mine: set[int] = set()

    def opened(path: Any, *more: Any, dir_fd: int | None = None, **named: Any) -> int:
        inside = dir_fd is not None and os.readlink(f"/proc/self/fd/{dir_fd}") == str(folder)
        if inside and os.fsencode(path) == b"file":
            changing.call()
        made = real["open"](path, *more, dir_fd=dir_fd, **named)
        (mine.add if inside and os.fsencode(path) == b"file" else mine.discard)(made)
        return int(made)

    def watched(name: str) -> Callable[..., Any]:
        def call(descriptor: Any, *more: Any, **named: Any) -> Any:
            if descriptor in mine:
                changing.call()
            return real[name](descriptor, *more, **named)

        return call

    real = {
        name: getattr(os, name)
        for name in ("open", "pread", "preadv", "fstat", "copy_file_range", "listxattr")
    }
    with patch.context() as inner:
        for name in real:
            inner.setattr(os, name, opened if name == "open" else watched(name))
        yield


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "size", [3000, 0, 3 * MIB + 5, 65 * MIB], ids=["small", "nothing", "pieces", "ranges"]
)
def test_a_file_that_changes_between_two_system_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, way: str
) -> None:
    for moment in (1, 2, 3, 4, 5) if size < MIB else (2, 4):
        source, target = tmp_path / f"source-{moment}", tmp_path / f"target-{moment}"
        source.mkdir()
        target.mkdir()
        (source / "other").write_bytes(b"other")
        place = StoreSpec("posix", str(target))
        scene = Scene(source, monkeypatch, place, lambda target=target: oracle.folder(target))  # type: ignore[misc]
        changing = Changing(scene.file(size), way, moment)
        with _seen_by_the_system(monkeypatch, source, changing):
            report = scene.copy()
        if not changing.changed:
            assert moment > 2, "it was hardly read"
            break
        _judge(scene, changing, report)
        assert scene.copy(compare=Compare.CHECKSUM).end.status is RunStatus.SUCCEEDED, scene.rows
        if changing.path.exists():
            assert scene.held() == oracle.folder(source)


@pytest.mark.parametrize("extra", [-1, 1, 1 << 40])
@pytest.mark.parametrize("size", [3000, 3 * MIB + 5, 65 * MIB], ids=["small", "pieces", "ranges"])
def test_a_file_of_another_length_than_was_told_never_gets_into_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, extra: int
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    scene = Scene(source, monkeypatch, StoreSpec("posix", str(target)), lambda: oracle.folder(target))
    scene.file(size)
    lie = Fault("open", "file", extra=extra, times=1 << 30)
    rows = LoggedRows()
    between(
        monkeypatch, lambda spec, store: FaultStore(store, lie) if spec.location == str(source) else store
    )

    copy(StoreSpec("posix", str(source)), scene.target, JobOptions(), workers=0, log=rows.take)

    assert [(row.path, row.outcome, row.code) for row in rows] == [(b"file", Outcome.FAILED, "AZSM2071")]
    assert scene.held() == {}


@pytest.mark.parametrize("way", ["grows", "is rewritten, size and time as before", "is replaced by another"])
def test_what_the_target_had_outlives_a_source_that_never_rests(
    scenes: Callable[[], Scene], way: str
) -> None:
    """Changed again at every single call: nothing of it may arrive, and the version of the day before stays."""
    scene = scenes()
    path = scene.file(3000)
    scene.copy()
    before = scene.held()[b"file"]
    path.write_bytes(b"x" * 4000)
    restless = Changing(path, way, 1)

    def call() -> None:
        WAYS[way](path)
        restless._know()

    restless.call = call  # type: ignore[method-assign]
    scene.copy(restless)

    (row,) = [row for row in scene.rows if row.path == b"file"]
    if row.outcome is Outcome.FAILED:
        assert row.code == "AZSM2071"
        assert scene.held()[b"file"] == before
    else:
        assert scene.held()[b"file"][2] in restless.versions


def test_without_looking_again_a_change_may_pass_and_lengths_never_do(scenes: Callable[[], Scene]) -> None:
    """`--verify none` trusts the source; a file of another length than was told is found out even so."""
    for way in ("grows", "shrinks"):
        scene = scenes()
        changing = Changing(scene.file(SIZES["pieces"]), way, 1)

        scene.copy(changing, verify=Verify.NONE)

        (row,) = [row for row in scene.rows if row.path == b"file"]
        held = scene.held().get(b"file")
        assert (row.code, held) == ("AZSM2071", None) or (held and held[2] in changing.versions)
