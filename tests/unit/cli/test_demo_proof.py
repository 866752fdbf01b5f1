"""The judge of the demo sees every difference, and reads a folder as it is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from wherry.cli.demo.proof import File, Tree, measure, read_folder

FILE = File(3, "a" * 64, 0o644, 1_700_000_000_000_000_000)


def tree() -> Tree:
    return Tree({b"one": FILE, b"deep/two": FILE}, {b"deep", b"empty"}, {b"link": b"one"})


def test_the_same_is_the_same() -> None:
    assert tree().differences(tree()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"files": {b"one": FILE}},
        {"files": {b"one": FILE, b"deep/two": FILE, b"more": FILE}},
        {"files": {b"one": FILE, b"deep/two": replace(FILE, size=4)}},
        {"files": {b"one": FILE, b"deep/two": replace(FILE, sha256="b" * 64)}},
        {"files": {b"one": FILE, b"deep/two": replace(FILE, mode=0o600)}},
        {"files": {b"one": FILE, b"deep/two": replace(FILE, modified=1)}},
        {"folders": {b"deep"}},
        {"folders": {b"deep", b"empty", b"more"}},
        {"others": {}},
        {"others": {b"link": b"two"}},
    ],
)
def test_every_difference_is_seen(change: dict[str, object]) -> None:
    other = replace(tree(), **change)  # type: ignore[arg-type]

    assert len(tree().differences(other)) == 1
    assert len(other.differences(tree())) == 1


def test_what_cannot_be_held_is_left_out() -> None:
    left = tree().without({b"one", b"empty", b"link"})

    assert (set(left.files), left.folders, left.others) == ({b"deep/two"}, {b"deep"}, {})


def test_a_folder_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "deep" / "skipped").mkdir(parents=True)
    (tmp_path / "deep" / "skipped" / "file").touch()
    (tmp_path / "deep" / "file").write_bytes(b"abc")
    (tmp_path / "deep" / "file").chmod(0o640)
    os.utime(tmp_path / "deep" / "file", ns=(1, 1_700_000_000_123_456_789))
    (tmp_path / "link").symlink_to("deep/file")
    os.mkfifo(tmp_path / "pipe")

    found = read_folder(tmp_path, ("skipped",))

    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found.files == {b"deep/file": File(3, digest, 0o640, 1_700_000_000_123_456_789)}
    assert found.folders == {b"deep"}
    assert found.others == {b"link": b"deep/file", b"pipe": b""}
    assert found.size == 3
    assert measure(tmp_path, ("skipped",)) == (1, 3)
