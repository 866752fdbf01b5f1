"""A folder copied to a container and back is the folder: links, names of one file, attributes, ACLs and times."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests import oracle
from tests.azurite import Azurite
from tests.conformance.conftest import spec_of
from tests.lake import lake
from wherry.engine.copy import copy
from wherry.model.entry import Attributes
from wherry.model.options import JobOptions
from wherry.stores.port import StoreSpec

NOBODY = 0xFFFFFFFF


def acl(*rows: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def attributes(path: bytes) -> Attributes:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((os.fsencode(name), os.getxattr(path, name, follow_symlinks=False)) for name in names)


def everything(root: Path) -> dict[bytes, tuple[object, ...]]:
    """What the oracle sees, and attributes, and for a file of several names the first of them."""
    top = os.fsencode(root)
    first: dict[int, bytes] = {}
    told = {}
    for path, item in sorted(oracle.folder(root).items()):
        info = os.lstat(os.path.join(top, path))
        told[path] = (*item, attributes(os.path.join(top, path)), first.setdefault(info.st_ino, path))
    return told


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "folder/deeper").mkdir(parents=True)
    (root / "empty").mkdir(mode=0o750)
    (root / "file").write_bytes(b"data")
    os.link(root / "file", root / "folder/same file")
    (root / "folder/large").write_bytes(bytes(range(256)) * 40_000)
    with (root / "sparse").open("wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"in the middle")
    os.symlink("../file", root / "folder/link")
    os.symlink(b"nowhere\xff", os.fsencode(root / "dangling"))
    os.setxattr(root / "file", "user.note", b"\x00\xff")
    entries = (1, 6, NOBODY), (2, 6, 1234), (4, 4, NOBODY), (16, 6, NOBODY), (32, 0, NOBODY)
    try:
        os.setxattr(root / "folder/large", "system.posix_acl_access", acl(*entries))
        os.setxattr(root / "folder", "system.posix_acl_default", acl(*entries))
    except OSError:
        pytest.skip("this file system has no ACLs")
    (root / "file").chmod(0o4751)
    times = {
        "file": -5_000_000_001, "folder/link": 7, "empty": 99, "folder/deeper": 1_234_567_890_123_456_789, "folder": 3
    }  # fmt: skip
    for name, when in times.items():
        os.utime(root / name, ns=(1, when), follow_symlinks=False)
    return root


@pytest.mark.parametrize("subpath", [b"", b"below/it"])
def test_all_of_a_folder_comes_back(azurite: Azurite, tree: Path, tmp_path: Path, subpath: bytes) -> None:
    there_and_back(
        tree, spec_of(azurite, azurite.container("restored").container_name, subpath), tmp_path / "back"
    )


@pytest.mark.parametrize("rights", ["racwdl", "racwdlp"])
def test_all_of_a_folder_comes_back_from_a_hierarchical_account(
    tree: Path, tmp_path: Path, rights: str
) -> None:
    with lake() as account:
        secret = f"sv=2024-11-04&sp={rights}&sig=x"
        there_and_back(tree, StoreSpec("blob", account.url, secret=secret), tmp_path / "back")

    assert (account.nodes[b"file"].permissions == "rwxr-x--x") == ("p" in rights)
    assert account.nodes[b"empty"].folder


def there_and_back(tree: Path, spec: StoreSpec, target: Path) -> None:
    source, back = StoreSpec("posix", str(tree)), StoreSpec("posix", str(target), create=True)
    items = len(everything(tree))

    for start, end in ((source, spec), (spec, back)):
        for outcome in ("Transferred", "NoTransferNeeded"):
            report = copy(start, end, JobOptions(), workers=0)
            assert report.counters.items == {"Scanned": items, outcome: items}

    assert everything(target) == everything(tree)
