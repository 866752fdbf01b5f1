"""What is not to be preserved stays on the target as it is: modes, owners and attributes of items that are there."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from tests.unit.stores.conftest import root_only
from wherry.engine.copy import copy
from wherry.model.options import Compare, JobOptions, Preserve
from wherry.model.run import RunStatus
from wherry.stores.port import StoreSpec

MODIFIED = 1_500_000_000_000_000_000
NOBODY = 0xFFFFFFFF
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *row)
    for row in ((1, 6, NOBODY), (2, 6, 1001), (4, 4, NOBODY), (16, 6, NOBODY), (32, 0, NOBODY))
)


class Places:
    def __init__(self, folder: Path) -> None:
        self.source, self.target = folder / "source", folder / "target"
        for one in (self.source, self.target):
            one.mkdir()

    def copy(self, *preserve: Preserve, compare: Compare = Compare.TIME) -> None:
        near = StoreSpec("posix", str(self.source))
        far = StoreSpec("posix", str(self.target), create=True)
        report = copy(near, far, JobOptions(preserve=preserve, compare=compare), workers=0)
        assert report.end.status is RunStatus.SUCCEEDED

    def equal_but_for_times(self) -> Path:
        for number, folder in enumerate((self.source, self.target)):
            (folder / "a").write_bytes(b"1")
            os.utime(folder / "a", ns=(MODIFIED, MODIFIED - number))
        return self.target / "a"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_that_only_gets_its_time_keeps_its_mode(places):
    there = places.equal_but_for_times()
    there.chmod(0o600)
    places.copy(Preserve.TIMES, compare=Compare.SIZE)
    assert mode(there) == 0o600
    assert there.stat().st_mtime_ns == MODIFIED


def test_a_private_file_that_gets_new_data_stays_private(places):
    (places.source / "a").write_bytes(b"new")
    (places.target / "a").write_bytes(b"1")
    (places.target / "a").chmod(0o600)
    places.copy(Preserve.TIMES)
    assert (places.target / "a").read_bytes() == b"new"
    assert mode(places.target / "a") == 0o600


def test_folders_that_are_there_keep_their_mode_and_new_ones_are_readable(places):
    for name in ("old", "new"):
        (places.source / name).mkdir(mode=0o755)
        (places.source / name / "a").write_bytes(b"1")
    (places.target / "old").mkdir(mode=0o700)
    places.target.chmod(0o710)
    places.copy(Preserve.TIMES)
    assert mode(places.target / "old") == 0o700
    assert mode(places.target) == 0o710
    assert mode(places.target / "new") == 0o755


@root_only
def test_a_file_that_gets_new_data_keeps_its_owner_and_lends_no_rights_of_another(places):
    (places.source / "a").write_bytes(b"new")
    (places.source / "a").chmod(0o6755)
    (places.target / "a").write_bytes(b"1")
    os.chown(places.target / "a", 12, 34)
    places.copy(Preserve.TIMES, Preserve.MODE)
    found = (places.target / "a").stat()
    assert (found.st_uid, found.st_gid) == (12, 34)
    assert mode(places.target / "a") == 0o755


@pytest.mark.parametrize("data", [b"1", b"new"])
def test_attributes_of_a_kind_that_is_not_preserved_stay(places, data):
    there = places.equal_but_for_times()
    os.setxattr(there, b"system.posix_acl_access", ACL)
    os.setxattr(there, b"user.old", b"0")
    os.setxattr(places.source / "a", b"user.x", b"1")
    (places.source / "a").write_bytes(data)
    places.copy(Preserve.TIMES, Preserve.XATTRS, compare=Compare.SIZE)
    assert there.read_bytes() == data
    assert os.getxattr(there, b"user.x") == b"1"
    assert os.getxattr(there, b"system.posix_acl_access") == ACL
    assert sorted(os.listxattr(there)) == ["system.posix_acl_access", "user.x"]
