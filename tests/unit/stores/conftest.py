"""Folder stores for tests: with `openat2` and without, below the test's own folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.model.entry import Entry, Kind
from wherry.stores.port import Content, StoreSpec, no_fence
from wherry.stores.posix import PosixStore

LIKE = Entry(b"", Kind.FILE, mode=0o600, modified=11)
Make = Callable[..., PosixStore]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture(params=[True, False], ids=["openat2", "by parts"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    opened: list[PosixStore] = []

    def made(folder: str = "root", fence: Callable[[], None] = no_fence, **more: object) -> PosixStore:
        spec = StoreSpec("posix", str(tmp_path / folder), beneath=str(tmp_path), create=True)
        for name, value in more.items():
            object.__setattr__(spec, name, value)
        opened.append(PosixStore(spec, fence, modern=request.param))
        return opened[-1]

    yield made
    for store in opened:
        store.close()


def content(store: PosixStore, path: bytes) -> Content:
    reader = store.open(path)
    return Content(reader, reader.entry())


@pytest.fixture
def source(make: Make, tmp_path: Path) -> Content:
    store = make("source")
    (tmp_path / "source/file").write_bytes(b"data")
    return content(store, b"file")


def given(make: Make, data: bytes) -> Content:
    store = make("given")
    file = store.stat(b"given")
    if file is None:
        descriptor = os.open(b"given", os.O_CREAT | os.O_WRONLY, dir_fd=store._root)
        os.write(descriptor, data)
        os.close(descriptor)
    return content(store, b"given")
