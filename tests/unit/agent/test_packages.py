"""Packages of the agent's program: only what was signed is unpacked, and nothing lands outside of its folder."""

from __future__ import annotations

import hashlib
import io
import stat
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wherry.agent import packages
from wherry.model.errors import UsageError
from wherry.trust.keys import PrivateKey
from wherry.trust.packages import MAX_MANIFEST, Manifest, sign
from wherry.trust.signed import Untrusted

KEY = PrivateKey.for_agent()
OURS = [KEY.public]


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return held.getvalue()


def manifest_of(archive: bytes, **other: object) -> Manifest:
    digest = hashlib.sha256(archive).hexdigest()
    return replace(Manifest("1.2.3", packages.PYTHON, digest, len(archive), 10, 1000), **other)  # type: ignore[arg-type]


def unpacked(folder: Path, archive: bytes, **other: object) -> Path:
    """Where an archive was unpacked that its publisher has signed, whatever it holds."""
    package, manifest = folder / "package", manifest_of(archive, **other)
    package.write_bytes(sign(manifest, KEY).encode() + b"\n" + archive)
    assert packages.opened(package, OURS) == manifest
    packages.unpack(package, manifest, folder / "tree")
    return folder / "tree"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "program"
    (made / "wherry" / "__pycache__").mkdir(parents=True)
    (made / "wherry" / "__init__.py").write_text('"""It."""\n\n__version__ = "1.2.3"\n')
    (made / "wherry" / "__pycache__" / "old.pyc").write_bytes(b"old")
    (made / "wherry" / "data.bin").write_bytes(bytes(range(256)) * 10_000)
    return made


def test_what_is_built_is_what_comes_out(tmp_path: Path, tree: Path) -> None:
    package = packages.build(tree, KEY, tmp_path)

    assert package.name == "wherry-agent-1.2.3.wherry"
    manifest = packages.opened(package, OURS)
    packages.unpack(package, manifest, tmp_path / "out")
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {name: (tree / "wherry" / name).read_bytes() for name in ("__init__.py", "data.bin")}
    assert (manifest.version, manifest.files) == ("1.2.3", 2)


def test_what_is_no_program_is_not_packed(tmp_path: Path, tree: Path) -> None:
    (tree / "wherry" / "link").symlink_to("__init__.py")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        packages.build(tree, KEY, tmp_path)
    with pytest.raises(UsageError, match="holds no Wherry"):
        packages.build(tmp_path, KEY, tmp_path)
    assert not list(tmp_path.glob("*wherry-agent*"))


def test_attack_47_a_package_of_somebody_else_is_not_even_fetched(tmp_path: Path, tree: Path) -> None:
    data = packages.build(tree, PrivateKey.for_agent(), tmp_path).read_bytes()
    asked = []

    def read(offset: int, size: int) -> bytes:
        asked.append((offset, size))
        return data[offset : offset + size]

    with pytest.raises(Untrusted, match="unknown key"):
        packages.fetch(read, OURS, lambda _: None, len)
    assert asked == [(0, MAX_MANIFEST + 1)]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b".", b".A", 1),
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:-1],
        lambda data: data + b"more",
        lambda data: data.partition(b"\n")[2],
        lambda data: b"x" * (MAX_MANIFEST + 5),
    ],
)
def test_attack_47_a_package_that_was_changed_is_refused(
    tmp_path: Path, tree: Path, change: Callable[[bytes], bytes]
) -> None:
    package = packages.build(tree, KEY, tmp_path)
    package.write_bytes(change(package.read_bytes()))
    with pytest.raises(Untrusted):
        packages.opened(package, OURS)


def test_attack_47_what_is_not_accepted_is_not_fetched(tmp_path: Path, tree: Path) -> None:
    data = packages.build(tree, KEY, tmp_path).read_bytes()
    kept: list[bytes] = []

    def refuse(_manifest: Manifest) -> None:
        raise Untrusted("it is older")

    with pytest.raises(Untrusted, match="older"):
        packages.fetch(lambda offset, size: data[offset : offset + size], OURS, refuse, kept.append)
    assert not kept


def _link() -> zipfile.ZipInfo:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return link


def _nul() -> bytes:
    return zipped(("a-b", b"")).replace(b"a-b", b"a\0b")


def _twice() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zipped(("a", b"1"), ("a", b"2"))


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (zipped(("../out", b"x")), "elsewhere"),
        (zipped(("a/../../out", b"x")), "elsewhere"),
        (zipped(("/out", b"x")), "elsewhere"),
        (zipped(("a\\..\\out", b"x")), "elsewhere"),
        (zipped(("./a", b"x")), "elsewhere"),
        (zipped(("a//b", b"x")), "elsewhere"),
        (_nul(), "elsewhere"),
        (zipped(("a/", b"")), "other than files"),
        (zipped((_link(), b"target")), "other than files"),
        (_twice(), "twice"),
        (zipped(("a", b"1"), ("a/b", b"2")), "where it needs a folder"),
        (b"not an archive", "damaged"),
    ],
)
def test_attack_64_an_archive_reaches_nothing_outside_of_its_folder(
    tmp_path: Path, archive: bytes, why: str
) -> None:
    place = tmp_path / "deep" / "er"
    place.mkdir(parents=True)
    with pytest.raises(Untrusted, match=why):
        unpacked(place, archive)
    assert {path.name for path in tmp_path.rglob("*")} <= {"deep", "er", "package", "tree", "a"}
    assert not (place / "a").exists()


def test_attack_64_no_more_comes_out_than_was_signed(tmp_path: Path) -> None:
    """A megabyte of nothing in a thousand bytes, whose header says that it is ten."""
    bomb = zipped(("a", bytes(1 << 20)))
    told = bomb.replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    for archive in (bomb, told):
        with pytest.raises(Untrusted, match=r"more than was signed|damaged"):
            unpacked(tmp_path, archive)
        taken = sum(path.stat().st_size for path in (tmp_path / "tree").rglob("*"))
        assert taken <= 1000
        (tmp_path / "tree" / "a").unlink()
        (tmp_path / "tree").rmdir()


def test_attack_64_no_more_files_than_were_signed(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="more files"):
        unpacked(tmp_path, zipped(*((str(number), b"") for number in range(11))))
