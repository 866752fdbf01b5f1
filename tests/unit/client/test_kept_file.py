"""Files for their owner only, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wherry.client import kept_file
from wherry.model.errors import UsageError

WRITER = """
import sys
from pathlib import Path
from wherry.client import kept_file
number = 0
while True:
    number += 1
    kept_file.replace(Path(sys.argv[1]), b"%06d" % number * 20_000)
    print(number, flush=True)
"""


def test_what_is_replaced_is_private_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o644)

    kept_file.replace(path, b"new")

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    with pytest.raises(OSError, match="directory"):
        kept_file.replace(tmp_path / "a", b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_first_one_who_creates_wins(tmp_path: Path) -> None:
    assert kept_file.create(tmp_path / "a", b"1")
    assert not kept_file.create(tmp_path / "a", b"2")

    assert (tmp_path / "a").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    kept_file.remove(tmp_path / "a")
    kept_file.remove(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)

    for name in ("open", "new/deep"):
        assert kept_file.private_folder(tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(UsageError, match="cannot be used"):
        kept_file.private_folder(tmp_path / "file" / "folder")


def test_who_is_killed_while_writing_leaves_a_whole_file(tmp_path: Path) -> None:
    path, last = tmp_path / "a", 0
    for turn in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(3 + turn):
                last = int(writer.stdout.readline())
            writer.kill()
            last = max([last, *map(int, writer.stdout.read().split())])
        content = path.read_bytes()
        assert content == content[:6] * 20_000
        assert int(content[:6]) in (last, last + 1)


def test_it_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def noting(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object) -> object:
            done.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, call)

    noting("fsync")
    noting("rename")
    kept_file.replace(tmp_path / "a", b"new")
    assert done == ["fsync", "rename", "fsync"]


def test_what_killed_writers_have_left_is_swept_away(tmp_path: Path) -> None:
    for name in (".key.pem.0123abcd", ".key.pem.new", "key.pem", ".admin.json.89abcdef"):
        (tmp_path / name).write_text("x")
    hours_ago = time.time() - 7200
    for name in (".key.pem.0123abcd", ".key.pem.new", "key.pem"):
        os.utime(tmp_path / name, (hours_ago, hours_ago))
    kept_file.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".admin.json.89abcdef",
        ".key.pem.new",
        "key.pem",
    ]
