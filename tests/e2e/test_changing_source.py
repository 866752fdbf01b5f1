"""A source that changes while it is copied: each file of the target is one version of it that existed, whole."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from tests import oracle
from tests.azurite import Azurite
from tests.e2e.conftest import Place
from tests.site import Agent, Site, assert_same

FILES, BIG = 150, 4
LARGE = 9 << 20  # Read and sent in parts.
PAGE, PIECE = 4096, 64
EXPLAINED = {"AZSM0000", "AZSM2043", "AZSM2071", "AZSM2073"}


class Writer:
    """Changes the files of a folder again and again; knows the hash of every version that any of them ever had.

    A way of writing in place stays within one page and gives the file a time of its own afterwards: the kernel's own
    move by milliseconds and at the beginning of a write, so that no mover could tell two versions apart by them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions: dict[bytes, set[str]] = defaultdict(set)
        self.changes = 0
        self._random = random.Random(7)
        for number in range(FILES + BIG):
            path = self._path(number)
            path.parent.mkdir(exist_ok=True)
            self._replace(path, self._random.randbytes(LARGE if number >= FILES else 3000))

    def change(self) -> None:
        """Make a new version of some file."""
        path = self._path(self._random.randrange(FILES + BIG))
        old = path.read_bytes() if path.exists() else b""
        ways = [self._rewrite, self._overwrite, self._grow, self._truncate, self._vanish]
        way = self._random.choice(ways) if len(old) > PAGE // 2 else self._rewrite
        way(path, old)
        self.changes += 1

    def _path(self, number: int) -> Path:
        return self.folder / f"{number % 10}" / f"{number:03}"

    def _rewrite(self, path: Path, old: bytes) -> None:
        """Other bytes of about the same size, in a file that takes the place of the old one."""
        self._replace(path, old[:-500] + self._random.randbytes(3000 if len(old) < PAGE else 500))

    def _overwrite(self, path: Path, old: bytes) -> None:
        """Other bytes in the same file, which keeps its size."""
        at = PIECE * self._random.randrange(len(old) // PIECE)
        piece = self._random.randbytes(PIECE)
        self._know(path, old[:at] + piece + old[at + PIECE :])
        with self._opened(path) as file:
            os.pwrite(file, piece, at)

    def _grow(self, path: Path, old: bytes) -> None:
        more = self._random.randbytes(min(1000, PAGE - len(old) % PAGE))
        self._know(path, old + more)
        with self._opened(path) as file:
            os.pwrite(file, more, len(old))

    def _truncate(self, path: Path, old: bytes) -> None:
        self._know(path, old[:-500])
        with self._opened(path) as file:
            os.ftruncate(file, len(old) - 500)

    def _vanish(self, path: Path, _old: bytes) -> None:
        path.unlink()

    def _replace(self, path: Path, data: bytes) -> None:
        self._know(path, data)
        beside = self.folder.with_name("beside")
        beside.write_bytes(data)
        os.utime(beside, ns=(0, time.time_ns()))
        beside.rename(path)

    def _know(self, path: Path, data: bytes) -> None:
        name = os.fsencode(path.relative_to(self.folder))
        self.versions[name].add(hashlib.sha256(data).hexdigest())

    @contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        file = os.open(path, os.O_RDWR)
        try:
            yield file
            os.utime(file, ns=(0, time.time_ns()))
        finally:
            os.close(file)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Change files while the block runs."""
        over = threading.Event()
        thread = threading.Thread(target=self._work, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _work(self, over: threading.Event) -> None:
        while not over.is_set():
            self.change()


@pytest.fixture(params=["folder", "container"])
def target(request: pytest.FixtureRequest, place: Place, azurite: Azurite) -> Path | ContainerClient:
    return place.target if request.param == "folder" else azurite.container()


def test_no_file_is_a_mixture_of_two_versions(
    here: Site, agent: Agent, place: Place, target: Path | ContainerClient
) -> None:
    writer = Writer(place.source)
    job = here.job(place.source, target, agent, copyMode="Mirror")

    with writer.at_work():
        job.start()
        run = job.end()

    assert writer.changes > 10
    held = oracle.folder(target) if isinstance(target, Path) else oracle.container(target)
    files = {path: str(item[2]) for path, item in held.items() if item[0] == "file"}
    strange = [path for path, digest in files.items() if digest not in writer.versions[path]]
    assert strange == []
    assert {item[0] for item in held.values()} <= {"file", "folder"}
    rows = job.rows()
    assert {row["statusCode"] for row in rows} <= EXPLAINED, rows
    assert len(rows) == len({row["itemPath"] for row in rows}) == run["itemsScanned"]
    assert run["itemsScanned"] == run["itemsTransferred"] + run["itemsFailed"]
    assert run["status"] == ("Failed" if run["itemsFailed"] else "Succeeded")
    copied = {row["itemPath"].encode() for row in rows if row["transferResult"] == "Transferred"}
    assert copied <= set(held)

    job.start()
    assert job.end()["status"] == "Succeeded", [
        (r["itemPath"], r["statusCode"], r["details"]) for r in job.rows(outcome="Failed")
    ]
    assert_same(place.source, target)
