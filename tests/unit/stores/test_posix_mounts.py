"""What was written to a file system that is mounted in the target is made durable, too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wherry.stores import posix
from wherry.stores.port import StoreSpec, Syncs
from wherry.stores.registry import open_store


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "target" / "a disk"
    place.mkdir(parents=True)
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "none", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("it takes the right to mount")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_sync_reaches_what_other_processes_wrote_on_a_mounted_file_system(mounted, monkeypatch):
    synced: set[int] = set()
    monkeypatch.setattr(posix, "sync_file_system", lambda descriptor: synced.add(os.fstat(descriptor).st_dev))
    with closing(open_store(StoreSpec("posix", str(mounted.parent), create=True))) as store:
        list(store.list(b"a disk"))
        assert isinstance(store, Syncs)
        store.sync()
    assert synced == {mounted.stat().st_dev, mounted.parent.stat().st_dev}
