"""Packages of the agent's program: a signed manifest in the first line, and a zip archive behind it.

What is unpacked is what was signed, and even a signed archive can put nothing outside of its folder: only plain files
and folders under plain relative names come out of it, each once, and not a byte more than the manifest says.
Called by `upgrade` and by `wherry package`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from wherry.model.errors import UsageError
from wherry.model.versions import Version
from wherry.trust.keys import PrivateKey, PublicKey
from wherry.trust.packages import MAX_MANIFEST, Manifest, file_name, sign, verify
from wherry.trust.signed import Untrusted

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_PIECE = 1 << 20
_LONGEST_NAME = 1024
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_VERSION = re.compile(r'^__version__ = "([^"\n]+)"$', re.MULTILINE)

Fetch = Callable[[int, int], bytes]
"""Bytes of a package from an offset, at most so many; fewer only at its end."""


def build(tree: Path, key: PrivateKey, folder: Path) -> Path:
    """Pack the program in `tree` (what is to be on Python's path) and sign it; the file made in `folder`."""
    version = _version_in(tree)
    target = folder / file_name(str(version))
    archive = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        count, unpacked = _pack(tree, archive)
        with archive.open("rb") as made:
            digest = hashlib.file_digest(made, "sha256").hexdigest()
        manifest = Manifest(str(version), PYTHON, digest, archive.stat().st_size, count, unpacked)
        with _created(target) as out, archive.open("rb") as made:
            out.write(sign(manifest, key).encode() + b"\n")
            shutil.copyfileobj(made, out, _PIECE)
    finally:
        archive.unlink(missing_ok=True)
    return target


def fetch(
    read: Fetch,
    publishers: Collection[PublicKey],
    accept: Callable[[Manifest], None],
    keep: Callable[[bytes], object],
) -> Manifest:
    """Get a package piece by piece and `keep` each; raises `Untrusted`, and whatever `accept` raises.

    The manifest comes first: of a package that is not signed, or that `accept` refuses, nothing more is asked for.
    """
    head = read(0, MAX_MANIFEST + 1)
    line, newline, _ = head.partition(b"\n")
    if not newline:
        raise Untrusted("it does not begin with a manifest")
    manifest = verify(line.decode("ascii", "replace"), publishers)
    accept(manifest)
    start = len(line) + 1
    digest = hashlib.sha256()
    keep(head[:start])
    for piece in _pieces(read, start, manifest.size):
        digest.update(piece)
        keep(piece)
    if digest.hexdigest() != manifest.sha256 or read(start + manifest.size, 1):
        raise Untrusted("its bytes are not those that were signed")
    return manifest


def opened(package: Path, publishers: Collection[PublicKey]) -> Manifest:
    """The manifest of a package in a file, all of it verified; raises `Untrusted`."""
    with package.open("rb") as file:

        def read(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        return fetch(read, publishers, lambda _manifest: None, len)


def unpack(package: Path, manifest: Manifest, folder: Path) -> None:
    """Unpack a package that `fetch` has kept into `folder`, which is made; raises `Untrusted`."""
    folder.mkdir(mode=0o700)
    try:
        with zipfile.ZipFile(package) as archive:
            members = archive.infolist()
            _check_names(members, manifest)
            left = manifest.unpacked
            for member in members:
                left -= _take(archive, member, folder, left)
    except (FileExistsError, NotADirectoryError) as clash:
        raise Untrusted("it holds a file where it needs a folder") from clash
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
    ) as broken:
        raise Untrusted(f"the archive is damaged: {broken}") from broken


def _version_in(tree: Path) -> Version:
    try:
        found = _VERSION.search((tree / "wherry" / "__init__.py").read_text())
    except OSError as trouble:
        raise UsageError(
            f"{tree} holds no Wherry: make it with pip install --target {tree} wherry."
        ) from trouble
    if found is None:
        raise UsageError(f"{tree / 'wherry' / '__init__.py'} tells no version.")
    return Version.parse(found[1])


def _pack(tree: Path, archive: Path) -> tuple[int, int]:
    """Pack all files below `tree`, in the same order each time; how many, and their bytes."""
    count = unpacked = 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(tree.rglob("*")):
            if "__pycache__" in path.parts or path.is_dir():
                continue
            if path.is_symlink() or not path.is_file():
                raise UsageError(f"{path} is neither a file nor a folder: a package holds nothing else.")
            name = path.relative_to(tree).as_posix()
            packed.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
            count += 1
            unpacked += path.stat().st_size
    return count, unpacked


def _pieces(read: Fetch, start: int, size: int) -> Iterator[bytes]:
    done = 0
    while done < size:
        piece = read(start + done, min(_PIECE, size - done))
        if not piece:
            raise Untrusted("it ends before its end")
        done += len(piece)
        yield piece


def _check_names(members: list[zipfile.ZipInfo], manifest: Manifest) -> None:
    """Refuse names that lead anywhere else, what is no plain file, and more files than were signed."""
    seen: set[str] = set()
    for member in members:
        # As it stands in the archive: the library cuts a name off at its first NUL.
        name = member.orig_filename
        path = PurePosixPath(name)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or member.is_dir():
            raise Untrusted("it holds something other than files")
        if path.is_absolute() or "\\" in name or "\0" in name or len(name) > _LONGEST_NAME:
            raise Untrusted("it holds a file for elsewhere")
        if str(path) != name or not path.parts or ".." in path.parts:
            raise Untrusted("it holds a file for elsewhere")
        if member.flag_bits & 1 or member.compress_type not in _METHODS:
            raise Untrusted("it is packed in a way that is not read here")
        if name in seen:
            raise Untrusted("it holds a file twice")
        seen.add(name)
    if len(members) > manifest.files:
        raise Untrusted("it holds more files than were signed")


def _take(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, left: int) -> int:
    """Unpack one file of at most `left` bytes, whatever its header says; its bytes."""
    target = folder / member.filename
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = 0
    with archive.open(member) as packed, _created(target) as out:
        while piece := packed.read(min(_PIECE, left - done + 1)):
            done += len(piece)
            if done > left:
                raise Untrusted("it unpacks to more than was signed")
            out.write(piece)
    return done


@contextmanager
def _created(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner may write."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "wb") as file:
        yield file
