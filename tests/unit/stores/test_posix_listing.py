"""Wide folders: streamed, never all in memory as entries, and nothing is left open."""

from __future__ import annotations

import errno
import os
import stat
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.unit.stores.conftest import Make
from wherry.model.entry import Kind

WIDE = 50_000


def peak_of(work: Iterable[object]) -> tuple[int, int]:
    """How many there were, and how much memory it took at most."""
    tracemalloc.start()
    try:
        return sum(1 for _ in work), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_wide_folder_streams(make: Make, tmp_path: Path) -> None:
    store = make()
    at = os.open(tmp_path / "root", os.O_RDONLY)
    for number in range(WIDE):
        if number % 30_000 == 0:
            os.close(os.open(b"%d" % number, os.O_CREAT | os.O_WRONLY, dir_fd=at))
        else:
            # One more name of a file is made quicker than a file.
            os.link(b"%d" % (number - number % 30_000), b"%d" % number, src_dir_fd=at, dst_dir_fd=at)
    os.close(at)

    count, peak = peak_of(store.names(b""))
    assert count == WIDE
    assert peak < 1 << 20

    # All names, for they are sorted, but few entries: one is more than 300 bytes.
    count, peak = peak_of(store.list(b""))
    assert count == WIDE
    assert peak < WIDE * 100


def test_streams_that_are_left_half_way_close_what_they_opened(make: Make, tmp_path: Path) -> None:
    store = make()
    for number in range(10):
        (tmp_path / f"root/{number}").touch()
    list(store.names(b""))
    before = os.listdir("/proc/self/fd")

    found = store.names(b"")
    never = store.names(b"")
    listing = store.list(b"")
    next(iter(found))
    next(iter(listing))
    del found, never, listing

    assert os.listdir("/proc/self/fd") == before


def test_looking_tells_leftovers_apart_and_takes_old_ones_away(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    fresh, other, folder = b".wherry-" + b"0" * 16, b".wherry-mine", b".wherry-" + b"d" * 16
    for name in (fresh, other):
        (tmp_path / "root" / os.fsdecode(name)).touch()
    (tmp_path / "root" / os.fsdecode(folder)).mkdir()

    assert sorted(store.names(b"")) == sorted([fresh, other, folder])
    kinds = [entry and entry.kind for entry in store.look(b"", [fresh, other, folder])]
    assert kinds == [Kind.SPECIAL, Kind.FILE, Kind.SPECIAL]

    monkeypatch.setattr("wherry.stores.posix_source._STALE_SECONDS", -10)
    kinds = [entry and entry.kind for entry in store.look(b"", [fresh, other, folder])]
    assert kinds == [None, Kind.FILE, Kind.SPECIAL]
    assert sorted(store.names(b"")) == sorted([other, folder])


def test_a_draft_of_somebody_else_that_we_may_not_remove_hides_nothing_else(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    foreign = b".wherry-" + b"0" * 16
    for name in ("a", os.fsdecode(foreign)):
        (tmp_path / "root" / name).touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("wherry.stores.posix_source._STALE_SECONDS", -10)
    monkeypatch.setattr("wherry.stores.posix_source.os.unlink", refuse)

    assert [entry.name for entry in store.list(b"")] == [b"a"]


def test_a_glance_tells_what_a_look_tells(make: Make, tmp_path: Path) -> None:
    store, root = make(), tmp_path / "root"
    (root / "file").write_bytes(b"12345")
    (root / "file").chmod(0o4640)
    (root / "folder").mkdir()
    (root / "link").symlink_to("file")
    (root / "other").hardlink_to(root / "file")
    found = [b"file", b"folder", b"link", b"other"]

    glance = store.glance(b"", found)

    assert glance is not None
    for (mode, links, uid, gid, size), modified, changed, entry in zip(
        *glance, store.look(b"", found), strict=True
    ):
        assert entry is not None
        assert stat.S_ISREG(mode) == (entry.kind is Kind.FILE)
        assert (stat.S_IMODE(mode), uid, gid, modified) == (entry.mode, entry.uid, entry.gid, entry.modified)
        assert changed == entry.changed
        if entry.kind is Kind.FILE:
            assert (links, size) == (entry.links, entry.size) == (2, 5)


def test_a_glance_does_not_do_for_what_is_gone_or_may_be_a_draft(make: Make, tmp_path: Path) -> None:
    store, root = make(), tmp_path / "root"
    for name in (".wherry-" + "0" * 16, "a", "b"):
        (root / name).touch()

    assert store.glance(b"", [b".wherry-" + b"0" * 16, b"a"]) is None
    assert store.glance(b"", [b"a", b"gone"]) is None
    assert store.glance(b"", [b"a", b"b"]) is not None
