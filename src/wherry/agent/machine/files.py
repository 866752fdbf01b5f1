"""The system's files below a root, which is `/` but in tests: read, replaced whole, put back as they were.

Called by `settings` and `tentative`.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Content:
    """What a name stands for: a file's bytes, or where a symbolic link leads to."""

    data: bytes = b""
    link: str = ""

    def to_json(self) -> dict[str, str]:
        return {"link": self.link} if self.link else {"data": base64.b64encode(self.data).decode()}

    @classmethod
    def from_json(cls, told: Mapping[str, str]) -> Content:
        return cls(base64.b64decode(told.get("data", "")), told.get("link", ""))


class Files:
    """The files below `root`, by their names as if it were `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def has(self, name: str) -> bool:
        return self.path(name).exists()

    def read(self, name: str) -> Content | None:
        """What is there; None when nothing is."""
        path = self.path(name)
        try:
            if path.is_symlink():
                return Content(link=str(path.readlink()))
            return Content(path.read_bytes())
        except FileNotFoundError:
            return None

    def text(self, name: str) -> str:
        """The text of a file, also through a link; empty when there is none."""
        try:
            return self.path(name).read_text(errors="replace")
        except OSError:
            return ""

    def write(self, name: str, content: Content | None, mode: int = 0o644) -> None:
        """Put `content` there, whole or not at all, and on disk when this returns; None: nothing shall be there."""
        path = self.path(name)
        if content is None:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                _sync(path.parent)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            if content.link:
                beside.symlink_to(content.link)
            else:
                handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                with os.fdopen(handle, "wb") as file:
                    # Whatever the umask is: others have to read most of these.
                    os.fchmod(file.fileno(), mode)
                    file.write(content.data)
                    file.flush()
                    os.fsync(file.fileno())
            beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)
        _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
