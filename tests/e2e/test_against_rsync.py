"""Random trees, copied by us and by `rsync -aHAX`: both copies are the same, at first and after the tree has changed.

What is compared is told by a walker of this test's own.  The known differences are `DIFFERENCES`, with the reason.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.logged import LoggedRows
from tests.odd_trees import BLOCK, FILES, FOLDERS, TREES, File, Folder, Grown, Tree, dress, fill
from wherry.engine.copy import Report, copy
from wherry.model.options import CopyMode, JobOptions
from wherry.model.run import RunStatus
from wherry.stores.port import StoreSpec

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None and not os.environ.get("CI"), reason="rsync is not installed"
)

DIFFERENCES = {
    "special": "pipes, sockets and devices are told as unsupported; rsync makes new ones",
    "unfinished": "a folder of mode 01700 is given its metadata by every pass: ours have it until they are finished",
    "swapped": "an additive copy never puts a folder in the place of a file, or a file in that of a folder",
    "holes": "rsync -a fills holes; ours stay, where they are whole blocks of files of more than a MiB",
}
HOLES_FROM = 1 << 20
UNFINISHED = 0o1700

Seen = dict[bytes, tuple[Any, ...]]


def look(root: bytes) -> Seen:
    """A folder and everything below it, by path, with the names that are the same file; special items left out."""
    found: Seen = {}
    groups: dict[tuple[int, int], list[bytes]] = defaultdict(list)
    for base, folders, files in os.walk(root):
        for name in [*folders, *files, *([b"."] if base == root else [])]:
            place = os.path.join(base, name)
            path = os.path.relpath(place, root)
            info = os.lstat(place)
            if stat.S_IFMT(info.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                continue
            found[path] = (
                stat.filemode(info.st_mode),
                info.st_uid,
                info.st_gid,
                info.st_mtime_ns,
                *_inside(place, info),
            )
            if not stat.S_ISDIR(info.st_mode):
                groups[info.st_dev, info.st_ino].append(path)
    for names in groups.values():
        for path in names:
            found[path] += (tuple(sorted(names)),)
    return found


def _inside(place: bytes, info: os.stat_result) -> tuple[Any, ...]:
    attributes = tuple(
        sorted(
            (name, os.getxattr(place, name, follow_symlinks=False))
            for name in os.listxattr(place, follow_symlinks=False)
        )
    )
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(place), attributes
    if stat.S_ISDIR(info.st_mode):
        return ("folder", attributes)
    with open(place, "rb") as file:
        return info.st_size, hashlib.file_digest(file, "sha256").hexdigest(), attributes


def _stored(root: bytes, path: bytes) -> int:
    return os.lstat(os.path.join(root, path)).st_blocks * 512


# ---------------------------------------------------------------- both copies


@dataclass
class Place:
    """A source and the two copies of it."""

    folder: bytes

    def __getattr__(self, name: str) -> bytes:
        return os.path.join(self.folder, name.encode())

    def by_rsync(self, *options: str) -> None:
        # Times are equal to the nanosecond, not to the second.
        done = subprocess.run(
            ["rsync", "-aHAX", "--numeric-ids", "--modify-window=-1", *options, self.source + b"/", self.theirs + b"/"],
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def by_us(self, **options: Any) -> Report:
        places = (StoreSpec("posix", os.fsdecode(self.source)), StoreSpec("posix", os.fsdecode(self.ours)))
        rows = LoggedRows()
        report = copy(*places, JobOptions(**options), workers=0, log=rows.take)
        assert report.end.status is RunStatus.SUCCEEDED, (report.end, rows)
        assert report.counters.settled == report.counters.items.get("Scanned", 0)
        return report


@contextmanager
def a_place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(os.fsencode(folder))
        for part in (place.source, place.ours, place.theirs):
            os.mkdir(part)
        try:
            yield place
        finally:
            for base, folders, _ in os.walk(folder):
                for name in folders:
                    if not os.path.islink(os.path.join(base, name)):
                        os.chmod(os.path.join(base, name), 0o700)


def compare(place: Place, grown: Grown, report: Report) -> None:
    ours, theirs = look(place.ours), look(place.theirs)
    assert ours == theirs
    assert report.counters.items.get("Unsupported", 0) == grown.specials
    for path, item in ours.items():
        if item[0].startswith("-") and item[4] > HOLES_FROM:
            assert _stored(place.ours, path) <= _stored(place.source, path) + 2 * BLOCK, path


ROUNDS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@settings(ROUNDS, max_examples=25)
@given(TREES)
def test_a_tree_arrives_as_rsync_would_bring_it(tree: Tree) -> None:
    with a_place() as place:
        grown = Grown(place.source)
        grown.grow(tree)
        place.by_rsync()
        report = place.by_us()
        compare(place, grown, report)

        again = place.by_us()

        unfinished = sum(
            item[0] == stat.filemode(stat.S_IFDIR | UNFINISHED) for item in look(place.ours).values()
        )
        assert again.counters.items.get("Transferred", 0) <= unfinished
        assert again.counters.bytes.get("Transferred", 0) == 0
        compare(place, grown, again)


# ---------------------------------------------------------------- a second pass

CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["remove", "rewrite", "append", "dress", "retarget", "bare", "touch"]),
        st.integers(0, 100), FILES, FOLDERS,
    ),
    min_size=1, max_size=8,
)  # fmt: skip


def change(grown: Grown, way: str, which: int, file: File, folder: Folder) -> None:
    """Do something to one item of the tree."""
    there = sorted(os.path.join(base, name) for base, ds, fs in os.walk(grown.root) for name in ds + fs)
    if not there:
        return
    place = there[which % len(there)]
    kind = stat.S_IFMT(os.lstat(place).st_mode)
    is_file, is_folder, is_link = kind == stat.S_IFREG, kind == stat.S_IFDIR, kind == stat.S_IFLNK
    if way == "remove" and not is_folder:
        os.unlink(place)
        grown.specials -= not (is_file or is_link)
    elif way == "remove":
        with suppress(OSError):
            os.rmdir(place)
    elif way == "rewrite" and is_file:
        beside = os.path.join(os.path.dirname(place), b"+ beside")
        with open(beside, "wb") as made:
            fill(made, file)
        dress(beside, file.facts)
        os.rename(beside, place)
    elif way == "append" and is_file:
        with open(place, "ab") as made:
            made.write(b"more")
    elif way == "dress" and (is_file or is_folder):
        bare(place)
        dress(place, (file if is_file else folder).facts)
    elif way == "retarget" and is_link:
        os.unlink(place)
        os.symlink(b"somewhere else", place)
    elif way == "bare" and (is_file or is_folder):
        bare(place)
    elif way == "touch":
        os.utime(place, ns=(which, 10**18 + which), follow_symlinks=False)


def take_swapped(place: Place, grown: Grown) -> None:
    """Take away what is a folder on one side and none on the other."""
    for base, folders, files in os.walk(place.source):
        for name in folders + files:
            path = os.path.join(base, name)
            there = os.path.join(place.ours, os.path.relpath(path, place.source))
            is_folder = os.path.isdir(path) and not os.path.islink(path)
            if not os.path.lexists(there) or is_folder == (
                os.path.isdir(there) and not os.path.islink(there)
            ):
                continue
            if is_folder:
                shutil.rmtree(path)
            else:
                os.unlink(path)
    grown.specials = sum(
        stat.S_IFMT(os.lstat(os.path.join(base, name)).st_mode)
        not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
        for base, folders, files in os.walk(place.source)
        for name in folders + files
    )


def bare(place: bytes) -> None:
    """Without any extended attribute."""
    for name in os.listxattr(place):
        os.removexattr(place, name)


@pytest.mark.parametrize("mode", CopyMode)
@settings(ROUNDS, max_examples=25)
@given(tree=TREES, more=TREES, changes=CHANGES)
def test_a_second_pass_brings_what_changed(
    mode: CopyMode, tree: Tree, more: Tree, changes: list[Any]
) -> None:
    with a_place() as place:
        grown = Grown(place.source)
        grown.grow(tree)
        place.by_rsync()
        place.by_us()
        for one in changes:
            change(grown, *one)
        grown.files = [file for file in grown.files if os.path.lexists(file)]
        grown.dressed = {}
        grown.grow(more)
        if mode is CopyMode.ADDITIVE:
            take_swapped(place, grown)

        place.by_rsync(*(["--delete"] if mode is CopyMode.MIRROR else []))
        report = place.by_us(mode=mode, max_delete=1000, allow_empty_source=True)

        compare(place, grown, report)
