from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from bench import comparison, trees
from bench.comparison import WrongCopy


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """The same small tree twice."""
    places = tmp_path / "one", tmp_path / "other"
    for place in places:
        place.mkdir()
        trees.make(place, trees.small(6, size=10, width=3))
    return places


def test_equal_trees_lack_nothing(both: tuple[Path, Path]) -> None:
    assert not comparison.compare(*both, whole=True)


def test_lost_metadata_is_counted_by_name(both: tuple[Path, Path]) -> None:
    source, target = both
    file = next(target.glob("*/*"))
    file.chmod(0o604)
    os.utime(file, ns=(1, 1))
    os.utime(target / "folder 0001", ns=(2, 2))

    assert comparison.compare(source, target, whole=True) == {
        "file modes": 1,
        "file times": 1,
        "folder times": 1,
    }


def test_a_missing_file_is_no_copy(both: tuple[Path, Path]) -> None:
    source, target = both
    max(target.glob("*/*")).unlink()

    with pytest.raises(WrongCopy, match="one has"):
        comparison.compare(source, target, whole=False)


def test_another_size_is_no_copy(both: tuple[Path, Path]) -> None:
    source, target = both
    os.truncate(next(target.glob("*/*")), 3)

    with pytest.raises(WrongCopy, match="3 bytes of 10"):
        comparison.compare(source, target, whole=False)


def test_one_other_byte_is_no_copy(both: tuple[Path, Path]) -> None:
    source, target = both
    file = max(target.glob("*/*"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")

    with pytest.raises(WrongCopy, match="differ"):
        comparison.compare(source, target, whole=True)


def test_a_touched_tree_has_another_fingerprint(both: tuple[Path, Path]) -> None:
    before = comparison.untouched(both[0])
    assert comparison.untouched(both[0]) == before

    file = next(both[0].glob("*/*"))
    file.chmod(file.stat().st_mode)

    assert comparison.untouched(both[0]) != before


REPORT = {"again": 0, "refused": 0}


def objects(source: Path, cut: int) -> list[dict[str, Any]]:
    """What a checked sink tells of a tree that came in pieces of `cut` bytes."""
    told = []
    for file in sorted(source.glob("*/*")):
        data = file.read_bytes()
        pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
        digests = [(len(piece), hashlib.sha256(piece).hexdigest()) for piece in pieces]
        path = f"/bench/target/{file.relative_to(source)}"
        told.append({"path": path, "size": len(data), "digests": digests})
    return told


def test_objects_that_all_came(both: tuple[Path, Path]) -> None:
    there = [*objects(both[0], 4), {"path": "/bench/target/folder 0000", "size": 0, "digests": []}]

    comparison.compare_objects(both[0], REPORT, there, "/bench/target/")


def test_an_object_that_did_not_come(both: tuple[Path, Path]) -> None:
    with pytest.raises(WrongCopy, match="did not arrive"):
        comparison.compare_objects(both[0], REPORT, objects(both[0], 10)[1:], "/bench/target/")


def test_an_object_of_nobody(both: tuple[Path, Path]) -> None:
    more = [*objects(both[0], 10), {"path": "/bench/target/ghost", "size": 1, "digests": []}]

    with pytest.raises(WrongCopy, match="ghost"):
        comparison.compare_objects(both[0], REPORT, more, "/bench/target/")


def test_an_object_of_other_bytes(both: tuple[Path, Path]) -> None:
    there = objects(both[0], 10)
    there[2]["digests"] = [(10, "00")]

    with pytest.raises(WrongCopy, match="bytes"):
        comparison.compare_objects(both[0], REPORT, there, "/bench/target/")


def test_an_object_that_came_twice(both: tuple[Path, Path]) -> None:
    with pytest.raises(WrongCopy, match="twice"):
        comparison.compare_objects(
            both[0], {"again": 1, "refused": 0}, objects(both[0], 10), "/bench/target/"
        )
