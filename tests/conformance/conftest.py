"""Every adapter as a `Case`: the suite runs on each, and skips by what its traits say, never by its name."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import generate_container_sas

from tests.azurite import Azurite
from tests.buckets import BucketServer
from tests.conformance import drafting
from tests.lake import lake
from wherry.model.entry import Attributes, Entry, Kind
from wherry.stores import posix_draft
from wherry.stores.blob.store import BlobStore
from wherry.stores.http.patience import Patience
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Content, Fence, MakesFolders, Store, StoreSpec, TakesRanges, no_fence
from wherry.stores.posix import PosixStore
from wherry.stores.s3.store import S3Store

PART = 16
QUICK = Patience(
    attempts=4, seconds=10, first_wait=0.001, longest_wait=0.01, busy_attempts=4, busy_seconds=10
)
CASES = [
    "memory",
    "memory-markers",
    "posix",
    "posix-without-openat2",
    "blob",
    "blob-subpath",
    "lake",
    "lake-subpath",
    "s3",
    "s3-prefix",
]


@dataclass
class Case:
    """One adapter at a place of its own.  `source` is a store in memory that contents come from."""

    make: Callable[[Fence], Store]
    store: Store = field(init=False)
    source: MemoryStore = field(default_factory=MemoryStore)
    opened: list[Store] = field(default_factory=list)
    serial: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.store = self.open()

    def open(self, fence: Fence = no_fence) -> Store:
        """Another store at the same place."""
        made = self.make(fence)
        self.opened.append(made)
        return made

    @property
    def large(self) -> int:
        """The size of a file that this store does not take in one piece, if it can take it in several."""
        return 5 * PART + 3 if self.store.traits.put_limit else 300_000

    def content(
        self,
        data: bytes,
        *,
        mode: int = 0o640,
        modified: int = 1_600_000_000_123_456_789,
        attributes: Attributes = (),
    ) -> Content:
        """A source file with these bytes, opened."""
        path = b"source-%d" % next(self.serial)
        self.source.seed(path, data, mode=mode, modified=modified, attributes=attributes)
        reader = self.source.open(path)
        return Content(reader, reader.entry())

    def put(self, path: bytes, data: bytes, expect: Entry | None = None) -> Entry:
        """Write a file as a run does: its folders first."""
        self.folders(path)
        content = self.content(data)
        self.store.put(path, content, content.entry, expect)
        return self.seen(path)

    def folders(self, path: bytes) -> None:
        """Make the folders above `path` where the store needs them."""
        if isinstance(self.store, MakesFolders) and self.store.traits.folders == "real":
            parts = path.split(b"/")[:-1]
            for depth in range(1, len(parts) + 1):
                self.store.make_folder(b"/".join(parts[:depth]))

    def kept(self, mode: int, uid: int, gid: int) -> tuple[int, int, int]:
        """What becomes of this mode and owner here, with the rights that the tests run with."""
        if self.store.traits.holds.owner:
            return mode, uid, gid
        return mode & 0o1777, os.geteuid(), os.getegid()

    def seen(self, path: bytes) -> Entry:
        entry = self.store.stat(path)
        assert entry is not None
        return entry

    def alike(self, listed: Entry, seen: Entry) -> bool:
        """Whether a listing tells what a look tells, as far as listings of this store tell it."""
        if not self.store.traits.bare:
            return listed == seen
        if Kind.FOLDER in (listed.kind, seen.kind):
            return (listed.name, listed.kind) == (seen.name, seen.kind)
        return (listed.name, listed.changed, listed.etag) == (seen.name, seen.changed, seen.etag)

    def data(self, path: bytes) -> bytes:
        """The bytes of a file, read through the port."""
        reader = self.store.open(path)
        try:
            entry = reader.entry()
            content = Content(reader, entry)
            data = bytes(content.read(0, entry.size))
            content.check()
            return data
        finally:
            reader.close()

    def tree(self) -> dict[bytes, Kind]:
        """Every path of the store with its kind."""
        found: dict[bytes, Kind] = {}

        def walk(folder: bytes) -> None:
            for entry in self.store.list(folder):
                path = folder + b"/" + entry.name if folder else entry.name
                # A bare listing cannot tell links from files.
                bare = self.store.traits.bare and entry.kind is Kind.FILE
                found[path] = self.seen(path).kind if bare else entry.kind
                if entry.kind is Kind.FOLDER:
                    walk(path)

        walk(b"")
        return found


def blob_spec(azurite: Azurite, subpath: bytes = b"") -> StoreSpec:
    """A fresh container and a credential for it."""
    return spec_of(azurite, azurite.container("conform").container_name, subpath)


def spec_of(azurite: Azurite, name: str, subpath: bytes = b"") -> StoreSpec:
    """A container that is there and a credential for it."""
    sas = generate_container_sas(
        azurite.account,
        name,
        account_key=azurite.key,
        permission="rwdl",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return StoreSpec("blob", f"{azurite.url}/{name}", subpath, secret=sas)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start a server before the guard against leaked processes looks, and only where one is needed."""
    for item in items:
        if not isinstance(item, pytest.Function) or "case" not in item.fixturenames:
            continue
        kind = item.callspec.params.get("case", "") if hasattr(item, "callspec") else ""
        if str(kind).startswith("blob"):
            item.fixturenames.insert(0, "azurite")
        elif str(kind).startswith("s3"):
            item.fixturenames.insert(0, "bucket_server")


@pytest.fixture
def lake_url() -> Iterator[str]:
    with lake() as made:
        yield made.url


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    kind: str = request.param
    make: Callable[[Fence], Store]
    if kind.startswith("memory"):
        place = uuid.uuid4().hex
        if kind == "memory":
            make = lambda fence: MemoryStore(place, fence=fence)  # noqa: E731
        else:
            make = lambda fence: MemoryStore(  # noqa: E731
                place, fence=fence, order="none", folders="markers", put_limit=PART, part_size=PART
            )
    elif kind.startswith("posix"):
        spec = StoreSpec("posix", str(tmp_path / "root"), beneath=str(tmp_path), create=True)
        make = lambda fence: PosixStore(spec, fence, modern=kind == "posix")  # noqa: E731
    elif kind.startswith("s3"):
        server: BucketServer = request.getfixturevalue("bucket_server")
        bucket = server.spec(server.bucket("conform"), b"deep/er" if kind == "s3-prefix" else b"")
        make = lambda fence: S3Store(bucket, fence, QUICK, part=PART, page=3)  # noqa: E731
    elif kind.startswith("lake"):
        subpath = b"deep/er" if kind == "lake-subpath" else b""
        spec = StoreSpec("blob", request.getfixturevalue("lake_url"), subpath, secret="sp=racwdlp&sig=x")
        make = lambda fence: BlobStore(spec, fence, QUICK, part=PART, page=3)  # noqa: E731
    else:
        azurite = request.getfixturevalue("azurite")
        spec = blob_spec(azurite, b"deep/er" if kind == "blob-subpath" else b"")
        make = lambda fence: BlobStore(spec, fence, QUICK, part=PART, page=3)  # noqa: E731
    made = Case(make)
    yield made
    for store in made.opened:
        store.close()


@pytest.fixture
def drafts(case: Case, monkeypatch: pytest.MonkeyPatch) -> TakesRanges:
    """The store as one that takes files in ranges, which are small here."""
    if not isinstance(case.store, TakesRanges):
        pytest.skip("it takes no ranges")
    monkeypatch.setattr(posix_draft, "RANGE_SIZE", drafting.RANGE)
    return case.store


@pytest.fixture
def files(tmp_path: Path) -> drafting.Files:
    made = drafting.Files(tmp_path / "files")
    (made.place / "file").write_bytes(drafting.DATA)
    os.utime(made.place / "file", ns=(drafting.MODIFIED, drafting.MODIFIED))
    return made


@pytest.fixture(params=["memory", "folder"])
def drafted(request: pytest.FixtureRequest, case: Case, files: drafting.Files) -> Content:
    """What a draft is made of: read by this process, or copied by the kernel."""
    if request.param == "folder":
        return files.content()
    return case.content(drafting.DATA, modified=drafting.MODIFIED)
