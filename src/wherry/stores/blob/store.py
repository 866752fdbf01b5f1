"""A container of Azure Blob Storage as source or target.

A folder is a marker (an empty blob of its name that holds its metadata), or only the prefix of what lies in
it; both together are one entry.  Every write names the version that it replaces, so a late writer, or another
one, is refused by the service itself.  Called by the engine through the port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Changed, Conflict, NotFound, StoreError, Unsupported
from wherry.model.plan import Holds
from wherry.stores.blob.listing import Blob, Page
from wherry.stores.blob.requests import Requests
from wherry.stores.http.metadata import entry_of, metadata_of, seconds
from wherry.stores.http.patience import Patience
from wherry.stores.http.wire import Address, Answer, Wire
from wherry.stores.port import Content, Fence, Root, StoreSpec, Traits, no_fence, part_ids, part_size

LONGEST_NAME = 1024
MOST_LEVELS = 254
MOST_PARTS = 50_000
PART = 8 * 1024 * 1024
LARGEST_PART = 4000 * 1024 * 1024
_META = "x-ms-meta-"
_THREADS = 8


class BlobReader:
    """One version of a blob; another one in its place is `Changed`."""

    def __init__(self, store: BlobStore, path: bytes, entry: Entry) -> None:
        self._store = store
        self._path = path
        self._entry = entry

    def read_at(self, offset: int, size: int) -> bytes | memoryview:
        if offset >= self._entry.size or size <= 0:
            return b""
        return self._store.read(self._path, offset, size, self._entry.etag)

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        now = self._store.blob(self._path)
        if now is None:
            raise Changed(f"{names.escape(self._path)}: the blob is gone")
        return now

    def close(self) -> None:
        """Nothing to let go of: the connection is the thread's."""


class BlobStore:
    """See the module."""

    def __init__(
        self, spec: StoreSpec, fence: Fence = no_fence, patience: Patience | None = None,
        part: int = PART, page: int = 5000,
    ) -> None:  # fmt: skip
        self._wire = Wire(Address.parse(spec.location), spec.ca_file)
        self._fence = fence
        self._requests = Requests(self._wire, spec.secret, fence, patience or Patience())
        self._top = spec.subpath + b"/" if spec.subpath else b""
        self._page = page
        address = self._wire.address
        self._identity = f"blob:{address.netloc}{address.path}/{names.escape(spec.subpath)}"
        self.traits = Traits(
            holds=Holds(
                names.NameRules(
                    unit="utf16", part_length=0, path_length=LONGEST_NAME - len(_utf16(self._top)),
                    levels=MOST_LEVELS - names.depth(spec.subpath), utf8=True, xml=True, trailing_dot=False,
                    reserved=b"\\",  # The service makes a slash of it.
                ),
                symlinks=False, hard_links=False, max_size=MOST_PARTS * LARGEST_PART,
            ),
            order="bytes", folders="markers", put_limit=part, part_size=part, max_parts=MOST_PARTS,
            threads=_THREADS,
        )  # fmt: skip

    # ------------------------------------------------------------ reading

    def probe(self) -> Root:
        # A listing of one: reading the container's properties is more than the credential of a run may do.
        _, answer = self._requests.list(self._top, most=1)
        return Root(self._identity, seconds(answer.headers.get("date", "")) * 10**9)

    def list(self, folder: bytes) -> Iterator[Entry]:
        prefix = self._top + folder + b"/" if folder else self._top
        found: dict[tuple[bytes, Kind], Entry] = {}
        for page in self._pages(prefix):
            for blob in page.blobs:
                if blob.name != prefix:
                    entry = _listed(blob, _below(prefix, blob.name))
                    found[entry.name, entry.kind] = entry
            for below in page.prefixes:
                entry = _prefix(_below(prefix, below[:-1]))
                found.setdefault((entry.name, entry.kind), entry)
        if not found and folder:
            present = self.blob(folder)
            if present is None or present.kind is not Kind.FOLDER:
                raise NotFound(f"{names.escape(folder)}: no such folder")
        return iter([found[key] for key in sorted(found)])

    def _pages(self, prefix: bytes) -> Iterator[Page]:
        marker = ""
        while True:
            page, _ = self._requests.list(prefix, marker, self._page)
            yield page
            if not page.marker:
                return
            if page.marker == marker:
                raise StoreError("the service's listing does not go on")
            marker = page.marker

    def stat(self, path: bytes) -> Entry | None:
        if not path:
            return (self.blob(path) if self._top else None) or Entry(b"", Kind.FOLDER, sealed=False)
        return self.blob(path) or (_prefix(names.basename(path)) if self._has_inside(path) else None)

    def blob(self, path: bytes) -> Entry | None:
        """The blob of this name as it is now, a marker or a file."""
        answer = self._requests.head(self._name(path))
        return None if answer is None else _answered(names.basename(path), answer)

    def _has_inside(self, path: bytes) -> bool:
        page, _ = self._requests.list(self._name(path) + b"/", most=1)
        return bool(page.blobs or page.prefixes or page.marker)

    def _name(self, path: bytes) -> bytes:
        """The blob's whole name; the root's marker lies beside what is in the root."""
        return self._top + path if path else self._top[:-1]

    def open(self, path: bytes) -> BlobReader:
        entry = self.blob(path)
        if entry is None:
            raise NotFound(f"{names.escape(path)}: no such blob")
        if entry.kind is not Kind.FILE:
            raise Unsupported(f"{names.escape(path)}: it is not a plain file")
        return BlobReader(self, path, entry)

    def read(self, path: bytes, offset: int, size: int, etag: str) -> bytes | memoryview:
        """Bytes of one version of a blob.  Raises `Changed` when it is another one or gone."""
        try:
            return self._requests.get(self._top + path, offset, size, etag)
        except (Conflict, NotFound) as error:
            raise Changed(str(error)) from error

    # ------------------------------------------------------------ writing

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        if content.size > self.traits.put_limit:
            self._put_parts(path, content, like, expect)
            return
        # A copy where need be: to check the source may overwrite what it gave.
        data = bytes(content.read(0, content.size))
        content.check()
        self._put_whole(path, data, like, _expected(path, expect))

    def _put_whole(self, path: bytes, data: bytes, like: Entry, etag: str | None) -> None:
        name, wanted = self._name(path), metadata_of(like)
        settle = self._settled(path, len(data), wanted, etag)
        try:
            self._requests.put(name, data, wanted, etag, settle)
        except Conflict:
            if etag is not None or self._requests.head(name) is not None:
                raise
            # Parts of a version that was never finished hold the name, though there is no blob: a list replaces them.
            parts = part_ids(path, like, len(data)) if data else []
            for part in parts:
                self._requests.put_block(name, part, data)
            self._requests.put_block_list(name, parts, wanted, None, settle)

    def _put_parts(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        size = part_size(content.size, self.traits)
        ids = part_ids(path, content.entry, size)
        for index, part in enumerate(ids):
            self.stage(path, part, content.read(index * size, size))
        content.check()
        self.publish(path, ids, like, expect)

    def staged(self, path: bytes) -> Mapping[str, int]:
        return self._requests.uncommitted(self._top + path)

    def stage(self, path: bytes, part: str, data: bytes | memoryview) -> None:
        self._requests.put_block(self._top + path, part, data)

    def publish(self, path: bytes, parts: Iterable[str], like: Entry, expect: Entry | None) -> None:
        wanted = metadata_of(like)
        etag = _expected(path, expect)
        settle = self._settled(path, like.size, wanted, etag)
        self._requests.put_block_list(self._top + path, parts, wanted, etag, settle)

    def describe(self, path: bytes, like: Entry, expect: Entry | None) -> None:
        if not path and not self._top:
            return  # The container itself holds no metadata of ours.
        if like.kind is Kind.FOLDER and (expect is None or not expect.sealed):
            self._put_whole(path, b"", like, None)
            return
        etag = _expected(path, expect)
        if etag is None or expect is None:
            raise NotFound(f"{names.escape(path)}: no such blob")
        wanted = metadata_of(like, expect.extra)
        self._requests.set_metadata(
            self._name(path), wanted, etag, self._settled(path, expect.size, wanted, etag)
        )

    def remove(self, path: bytes, expect: Entry) -> None:
        if expect.kind is Kind.FOLDER:
            if self._has_inside(path):
                raise Conflict(f"{names.escape(path)}: the folder is not empty")
            if not expect.sealed and not expect.etag:
                raise NotFound(f"{names.escape(path)}: the folder went with what lay in it")
        etag = _expected(path, expect)
        if etag is None:
            raise Conflict(f"{names.escape(path)}: nothing says which version is meant")
        # Gone after an answer was lost: by our own hand.
        gone: Callable[[], bool | None] = lambda: True if self.blob(path) is None else None  # noqa: E731
        try:
            self._requests.delete(self._top + path, etag, gone)
        except Conflict as error:
            if gone():
                raise NotFound(f"{names.escape(path)}: no such blob") from error
            raise

    def close(self) -> None:
        self._wire.close()

    # ------------------------------------------------------------ after an answer was lost

    def _settled(
        self, path: bytes, size: int, wanted: Mapping[str, str], replaced: str | None
    ) -> Callable[[], bool | None]:
        """Whether the write was carried out although nobody said so: another version, of our size and metadata."""

        def look() -> bool | None:
            answer = self._requests.head(self._name(path))
            if answer is None:
                return None
            metadata = _metadata(answer)
            ours = all(metadata.get(key.lower()) == value for key, value in wanted.items())
            now = _answered(b"", answer)
            same_size = int(answer.headers.get("content-length", "-1")) == size
            return True if ours and same_size and now.etag != replaced else None

        return look


def _expected(path: bytes, expect: Entry | None) -> str | None:
    """The etag that has to be there; None when nothing may be there."""
    if expect is None or (expect.kind is Kind.FOLDER and not expect.sealed and not expect.etag):
        return None
    if not expect.etag:
        raise Conflict(f"{names.escape(path)}: nothing says which version is meant")
    return expect.etag


def _utf16(text: bytes) -> str:
    """As many characters as the name has UTF-16 units."""
    return "x" * (len(text.decode("utf-8", "replace").encode("utf-16-le")) // 2)


def _prefix(name: bytes) -> Entry:
    # An empty name (`a//b`) is nothing that any folder can hold.
    return Entry(name, Kind.FOLDER if name else Kind.SPECIAL, sealed=False)


def _below(prefix: bytes, name: bytes) -> bytes:
    """The name in its folder; a listing that tells of other places is not believed."""
    rest = name[len(prefix) :]
    if not name.startswith(prefix) or b"/" in rest:
        raise StoreError("the service's listing tells of another folder")
    return rest


def _listed(blob: Blob, name: bytes) -> Entry:
    return entry_of(name, blob.size, blob.last_modified, blob.etag, blob.metadata)


def _metadata(answer: Answer) -> dict[str, str]:
    return {key[len(_META) :]: value for key, value in answer.headers.items() if key.startswith(_META)}


def _answered(name: bytes, answer: Answer) -> Entry:
    length = answer.headers.get("content-length", "0")
    return entry_of(
        name,
        int(length) if length.isdecimal() else 0,
        answer.headers.get("last-modified", ""),
        answer.headers.get("etag", ""),
        _metadata(answer),
    )
