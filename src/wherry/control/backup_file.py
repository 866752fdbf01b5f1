"""The file of a backup: a tar archive of the files of a state directory and, as its last member, what is in it.

`manifest.json` tells every file with its size and SHA-256.  A reader looks at the manifest first, takes nothing else
than it names, and nothing at all that differs.  Called by `backup` and `restore`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from wherry.control import logs
from wherry.model.errors import UsageError

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "wherry.db"
SEGMENTS, PACKAGES = "segments", "packages"
BESIDE = ("version", "deployment.json", "ca.pem", "brokers.json")

_LARGEST_MANIFEST = 1 << 30
_STEP = 1 << 20
_PACKAGE = re.compile(rf"{PACKAGES}/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Kept:
    """A file in a backup; `name` is its path below the state directory."""

    name: str
    size: int
    sha256: str


@dataclass(slots=True)
class Manifest:
    """What a backup holds.  `missing` are segments that the database names and that were not there, or damaged."""

    at: float
    version: str
    tenant: str
    revision: str
    files: list[Kept] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def text(self) -> bytes:
        """As it stands in the archive."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def read(cls, content: bytes) -> Manifest:
        """Raises `UsageError` for what is none, or is newer than this program."""
        try:
            told: dict[str, Any] = json.loads(content)
            if int(told.pop("format")) > FORMAT:
                raise UsageError(
                    "The backup was made by a newer version of wherry: restore it with that one."
                )
            files = [Kept(str(one["name"]), int(one["size"]), str(one["sha256"])) for one in told["files"]]
            return cls(**{**told, "files": files})
        except (ValueError, KeyError, TypeError) as broken:
            raise UsageError(f"The backup's {MANIFEST} is damaged.") from broken


class Writer:
    """Puts files into an archive and keeps count of them."""

    def __init__(self, archive: tarfile.TarFile, manifest: Manifest) -> None:
        self._archive = archive
        self.manifest = manifest

    def add(self, name: str, path: Path) -> None:
        """Put a file that nobody changes meanwhile."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._archive.addfile(_member(name, size), _Digesting(file, digest))
        self.manifest.files.append(Kept(name, size, digest.hexdigest()))

    def add_content(self, name: str, content: bytes) -> None:
        """Put what was read already."""
        self._archive.addfile(_member(name, len(content)), io.BytesIO(content))
        self.manifest.files.append(Kept(name, len(content), hashlib.sha256(content).hexdigest()))

    def end(self) -> None:
        """Put the manifest."""
        content = self.manifest.text()
        self._archive.addfile(_member(MANIFEST, len(content)), io.BytesIO(content))


class Reader:
    """Takes files out of an archive, each as its manifest says or not at all."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._members = {one.name: one for one in archive.getmembers()}
        self._archive = archive
        if MANIFEST not in self._members:
            raise UsageError(f"It is no whole backup: it has no {MANIFEST}.")
        if self._members[MANIFEST].size > _LARGEST_MANIFEST:
            raise UsageError(f"The backup's {MANIFEST} is too large.")
        self.manifest = Manifest.read(self._open(MANIFEST).read())
        self._check()

    def extract(self, into: Path) -> None:
        """Put all files below a directory that is thrown away when this raises."""
        for kept in self.manifest.files:
            path = into / kept.name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            digest = hashlib.sha256()
            handle = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644 if kept.name == "ca.pem" else 0o600
            )
            with os.fdopen(handle, "wb") as file, self._open(kept.name) as source:
                while part := source.read(_STEP):
                    digest.update(part)
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != kept.sha256:
                raise UsageError(f"The backup is damaged: {kept.name} is not what its manifest says.")

    def _check(self) -> None:
        names = [kept.name for kept in self.manifest.files]
        if len(set(names)) != len(names) or {*names, MANIFEST} != set(self._members):
            raise UsageError("The backup is damaged: it does not hold the files that its manifest names.")
        for kept in self.manifest.files:
            member = self._members[kept.name]
            if not is_ours(kept.name) or not member.isreg() or member.size != kept.size:
                raise UsageError(f"The backup is damaged: {kept.name!r} does not belong there.")
        if not {DATABASE, "version", "deployment.json", "ca.pem"} <= set(names):
            raise UsageError("The backup is not whole: a state needs more than it holds.")

    def _open(self, name: str) -> IO[bytes]:
        found = self._archive.extractfile(self._members[name])
        if found is None:
            raise UsageError(f"The backup is damaged: {name} is no file.")
        return found


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a backup; `UsageError` when it is none, or damaged."""
    try:
        with tarfile.open(path, "r:") as archive:
            yield Reader(archive)
    except tarfile.TarError as broken:
        raise UsageError(f"{path} is no backup, or it is damaged: {broken}.") from broken


def is_ours(name: str) -> bool:
    """Whether a backup may hold a file of this name."""
    folder, _, rest = name.partition("/")
    if folder == SEGMENTS:
        return logs.NAME.fullmatch(rest) is not None
    return name in (DATABASE, *BESIDE) or _PACKAGE.fullmatch(name) is not None


def _member(name: str, size: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.mode = size, 0o600
    return made


class _Digesting(io.RawIOBase):
    """A file whose content is digested while it is read."""

    def __init__(self, file: IO[bytes], digest: Any) -> None:
        self._file, self._digest = file, digest

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self._digest.update(part)
        return part
