from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench import trees

ITEMS = 5_000


def test_the_mix_has_the_shares_of_the_original() -> None:
    files = list(trees.mix(ITEMS))
    folders = {file.folder for file in files}
    above = {"/".join(folder.split("/")[:depth]) for folder in folders for depth in (1, 2)}

    shares = [
        sum(low <= file.size < high for file in files) / ITEMS
        for low, high in ((0, 1024), (1024, 16 * 1024), (16 * 1024, 1024**2))
    ]

    assert shares == pytest.approx([0.19 / 0.98, 0.57 / 0.98, 0.16 / 0.98], abs=0.02)
    assert len(folders | above) / ITEMS == pytest.approx(0.06 / 0.98, abs=0.003)


def test_the_mix_has_the_mean_size_of_the_original() -> None:
    dice = random.Random(7)
    mean = sum(trees.mix_size(dice) for _ in range(100_000)) / 100_000

    assert mean == pytest.approx(45 * 2**30 / 3.3e6, rel=0.15)


def test_the_mix_is_always_the_same() -> None:
    assert list(trees.mix(200)) == list(trees.mix(200))


def test_what_is_made_is_what_was_told(tmp_path: Path) -> None:
    tree = trees.make(tmp_path, trees.deep(5, each=2, wide=3))

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (
        (len(files), sum(path.is_dir() for path in tmp_path.rglob("*")))
        == (tree.files, tree.folders)
        == (13, 5)
    )
    assert sum(path.stat().st_size for path in files) == tree.size
    assert len({path.read_bytes() for path in files}) == len(files)
    assert len({path.stat().st_mtime_ns for path in files}) == len(files)


def test_hollow_files_have_a_size_and_no_data(tmp_path: Path) -> None:
    trees.make(tmp_path, trees.flat(3, 1024**2), hollow=True)

    assert [(path.stat().st_size, path.stat().st_blocks) for path in tmp_path.iterdir()] == [(1024**2, 0)] * 3
