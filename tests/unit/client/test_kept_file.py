"""Files for their owner only, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.client import kept_file
from wherry.model.errors import UsageError


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
