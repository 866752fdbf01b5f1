from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bench import oddities


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    place.mkdir()
    oddities.make(place)
    return place


def test_a_faithful_copy_keeps_all(source: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", source, tmp_path / "copy"], check=True)

    kept, facets, lost = oddities.kept(source, tmp_path / "copy")

    assert kept == facets > 150
    assert not lost


def test_what_is_lost_is_counted_by_its_kind(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", source, copy], check=True)
    (copy / "far/below/three").unlink()
    shutil.copy2(copy / "links/one", copy / "far/below/three")
    (copy / "modes/sticky").chmod(0o644)
    os.utime(copy / "times/fine", ns=(5, 5))
    (copy / "holes").write_bytes((copy / "holes").read_bytes())
    (copy / "links/itself").unlink()

    kept, facets, lost = oddities.kept(source, copy)

    assert kept == facets - lost.total()
    assert {lost[kind] for kind in ("modes", "holes", "texts of links", "items")} == {1}
    assert lost["hard links"] >= 1
    assert lost["times"] >= 2
