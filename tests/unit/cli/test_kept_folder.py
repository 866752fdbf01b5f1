"""A temporary folder in use is locked, as systemd-tmpfiles asks, and gone afterwards."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from wherry.cli.kept_folder import kept_folder


def test_whoever_cleans_finds_it_locked_while_it_is_in_use(tmp_path: Path) -> None:
    with kept_folder("wherry-test-", tmp_path) as folder:
        assert folder.parent == tmp_path
        cleaner = os.open(folder, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(cleaner)
    assert list(tmp_path.iterdir()) == []
