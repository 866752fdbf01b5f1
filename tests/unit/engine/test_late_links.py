"""Names of one file stay names of one file, also those whose place was taken by an item of another kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.engine.copy import Report, copy
from wherry.model.ledger import Phase, phases_to_come
from wherry.model.options import CopyMode, JobOptions
from wherry.stores.port import StoreSpec

ALWAYS_FREE = ("a", "zz")
TAKEN = ("b", "m/taken")
IN_A_NEW_FOLDER = ("f/one", "f/deep/two")
NAMES = (*ALWAYS_FREE, *TAKEN, *IN_A_NEW_FOLDER)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """One file by many names; of these some are folders on the target, and some lie in what is a file there."""
    source, target = tmp_path / "source", tmp_path / "target"
    for name in NAMES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if name == NAMES[0]:
            (source / name).write_bytes(b"one file")
        else:
            (source / name).hardlink_to(source / NAMES[0])
    for name in TAKEN:
        (target / name / "within").mkdir(parents=True)
    (target / "f").write_bytes(b"a folder of the source")
    (target / "stale").write_bytes(b"")
    return source, target


def mirrored(folders: tuple[Path, Path]) -> Report:
    near, far = (StoreSpec("posix", str(folder)) for folder in folders)
    return copy(near, far, JobOptions(mode=CopyMode.MIRROR, max_delete=100), workers=0)


def names_of_one_file(folder: Path) -> list[set[str]]:
    groups: dict[int, set[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            groups.setdefault(path.stat().st_ino, set()).add(str(path.relative_to(folder)))
    return list(groups.values())


@pytest.mark.parametrize("known", [(), ("a",), ("zz",)])
def test_late_names_are_links_of_the_others(folders, known):
    """Also when a name is on the target already."""
    for name in known:
        (folders[1] / name).write_bytes(b"before")

    report = mirrored(folders)

    assert names_of_one_file(folders[1]) == [set(NAMES)]
    assert (folders[1] / "m/taken").read_bytes() == b"one file"
    assert report.end.code == ""
    counts = report.counters.items
    assert counts["Scanned"] == counts["Transferred"] + counts.get("NoTransferNeeded", 0)
    again = mirrored(folders).counters.items
    assert again == {"Scanned": counts["Scanned"], "NoTransferNeeded": counts["Scanned"]}


def test_links_wait_only_for_what_comes_late():
    assert phases_to_come(late=False) == (Phase.LINKS, Phase.DELETE, Phase.LATE, Phase.FOLDERS)
    assert phases_to_come(late=True) == (Phase.DELETE, Phase.LATE, Phase.LINKS, Phase.FOLDERS)
