"""The judge of the demo: reads source and target by other means than ours, and asks the server who may still come in.

Folders are read with the standard library, containers with the vendor's own SDK and the account's key; every file is
hashed.  Nothing of the engine or the stores is used here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties, ContainerClient, generate_container_sas

from wherry.cli.demo.servers import BlobServer

_THREADS = 4
_MOST_TOLD = 10
_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was read: size, SHA-256, permission bits and modification time in ns."""

    size: int
    sha256: str
    mode: int
    modified: int


@dataclass
class Tree:
    """What lies in a place, by path below it.  `others` are links (with what they say) and special files."""

    files: dict[bytes, File] = field(default_factory=dict)
    folders: set[bytes] = field(default_factory=set)
    others: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(one.size for one in self.files.values())

    def without(self, paths: set[bytes]) -> Tree:
        """The same, but for some paths."""
        return Tree(
            {path: one for path, one in self.files.items() if path not in paths},
            self.folders - paths,
            {path: text for path, text in self.others.items() if path not in paths},
        )

    def differences(self, other: Tree) -> list[str]:
        """What is not the same in both, the first few."""
        wrong = [f"folder {os.fsdecode(path)}" for path in sorted(self.folders ^ other.folders)]
        for mine, theirs in ((self.files, other.files), (self.others, other.others)):
            both: set[bytes] = set(mine) | set(theirs)
            wrong += [os.fsdecode(path) for path in sorted(both) if mine.get(path) != theirs.get(path)]
        return wrong[:_MOST_TOLD]


def measure(root: Path, excluded: tuple[str, ...]) -> tuple[int, int]:
    """How many files lie below a folder, and their bytes."""
    sizes = [os.lstat(path).st_size for path, kind in walk(os.fsencode(root), excluded) if kind == "file"]
    return len(sizes), sum(sizes)


def read_folder(root: Path, excluded: tuple[str, ...] = ()) -> Tree:
    """Read a folder, without what is called as one of `excluded`."""
    base, tree = os.fsencode(root), Tree()
    for path, kind in walk(base, excluded):
        below = path[len(base) + 1 :]
        if kind == "folder":
            tree.folders.add(below)
        elif kind == "file":
            tree.files[below] = _read_file(path)
        else:
            tree.others[below] = os.readlink(path) if kind == "link" else b""
    return tree


def walk(base: bytes, excluded: tuple[str, ...]) -> Iterator[tuple[bytes, str]]:
    """All paths below a folder with what they are: folder, file, link or special."""
    names = {os.fsencode(name) for name in excluded}
    for entry in os.scandir(base):
        if entry.name in names:
            continue
        if entry.is_symlink():
            yield entry.path, "link"
        elif entry.is_dir():
            yield entry.path, "folder"
            yield from walk(entry.path, excluded)
        else:
            yield entry.path, "file" if entry.is_file() else "special"


def _read_file(path: bytes) -> File:
    told = os.lstat(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(told.st_size, digest, told.st_mode & 0o7777, told.st_mtime_ns)


class Container:
    """A container, seen with the account's own key."""

    def __init__(self, server: BlobServer, name: str) -> None:
        self._server = server
        self.name = name
        credential = {"account_name": server.account, "account_key": server.key}
        self._client = ContainerClient(server.endpoint, name, credential=credential)

    def close(self) -> None:
        self._client.close()

    def read(self) -> Tree:
        """Read everything in it."""
        tree = Tree()
        listed = list(self._client.list_blobs(include=["metadata"]))
        with ThreadPoolExecutor(_THREADS) as threads:
            for blob, file in zip(listed, threads.map(self._read_blob, listed), strict=True):
                path = str(blob.name).encode()
                if file is None:
                    tree.folders.add(path)
                else:
                    tree.files[path] = file
        return tree

    def _read_blob(self, blob: BlobProperties) -> File | None:
        """A file out of a blob; None for the marker of a folder."""
        told = {key.lower(): value for key, value in (blob.metadata or {}).items()}
        if told.get("hdi_isfolder") == "true":
            return None
        digest, size = hashlib.sha256(), 0
        for piece in self._client.download_blob(blob.name).chunks():
            digest.update(piece)
            size += len(piece)
        mode, modified = int(told.get("permissions", "-1")), int(told.get("modtime", "-1"))
        return File(size, digest.hexdigest(), mode & 0o7777, modified)

    def policies(self) -> list[str]:
        """The stored access policies that stand on it."""
        found = self._client.get_container_access_policy()
        return [str(one.id) for one in found["signed_identifiers"]]

    def answer_to(self, policy: str) -> int:
        """What the server says to the holder of the SAS of a policy: 200, or the status of its refusal.

        The SAS of a policy holds nothing but the policy's name and the account's signature, so this one is, to the
        byte, the one that the agent was given.
        """
        server = self._server
        sas = generate_container_sas(server.account, self.name, account_key=server.key, policy_id=policy)
        with ContainerClient(server.endpoint, self.name, credential=sas, retry_total=0) as client:
            try:
                next(iter(client.list_blob_names(results_per_page=1).by_page()), None)
            except HttpResponseError as refused:
                return int(refused.status_code or 0)
        return 200
