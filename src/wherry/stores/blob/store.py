"""A container of Azure Blob Storage as source or target.

A folder is a marker (an empty blob of its name that holds its metadata), or only the prefix of what lies in
it; both together are one entry.  In an account with a hierarchical namespace folders are real (`hierarchy`).
Every write names the version that it replaces, so a late writer, or another one, is refused by the service itself.
Called by the engine through the port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from urllib.parse import parse_qs

from wherry.model import names
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import Changed, Conflict, NotFound, StoreError, Unsupported
from wherry.model.plan import Holds
from wherry.stores.blob import hierarchy
from wherry.stores.blob.hierarchy import Hierarchy
from wherry.stores.blob.listing import Page
from wherry.stores.blob.requests import Requests
from wherry.stores.blob.service import lines, lines_of
from wherry.stores.blob.shapes import answered, below, etag_of, listed, metadata_in, prefix_entry, utf16
from wherry.stores.http.lane import ObjectLane
from wherry.stores.http.metadata import UNFINISHED, attributes_of, fitting, metadata_of, seconds
from wherry.stores.http.patience import Patience
from wherry.stores.http.reader import ObjectReader
from wherry.stores.http.wire import Address, Wire
from wherry.stores.lane import ReadsSmall
from wherry.stores.port import Content, Fence, Root, Store, StoreSpec, Traits, no_fence, part_ids, part_size

LONGEST_NAME = 1024
MOST_LEVELS = 254
# Of which two are those of account and container.
MOST_LEVELS_IN_A_HIERARCHY = 63 - 2
MOST_PARTS = 50_000
MOST_METADATA = 8 * 1024
PART = 8 * 1024 * 1024
LARGEST_PART = 4000 * 1024 * 1024
_THREADS = 64
# As much as comes with the opening of a file, and the longest text of a link.
_START = 128 * 1024
_LONGEST_LINK = 64 * 1024


class BlobStore:
    """See the module."""

    def __init__(
        self, spec: StoreSpec, fence: Fence = no_fence, patience: Patience | None = None,
        part: int = PART, page: int = 5000,
    ) -> None:  # fmt: skip
        self._spec = spec
        self._fence = fence
        self._patience = patience or Patience()
        self._wire = Wire(Address.parse(spec.location), spec.ca_file, private=spec.private, way=spec.way)
        self._requests = Requests(self._wire, spec.secret, fence, self._patience)
        self._top = spec.subpath + b"/" if spec.subpath else b""
        self._part = part
        self._page = page
        address = self._wire.address
        self._identity = f"blob:{address.netloc}{address.path}/{names.escape(spec.subpath)}"

    @cached_property
    def _tree(self) -> Hierarchy | None:
        """What real folders are made by; None in a flat account."""
        known = self._requests.is_hierarchical()
        if known is False:
            return None
        spec = self._spec
        wire = Wire(
            hierarchy.address_of(self._wire.address), spec.ca_file, private=spec.private, way=spec.way
        )
        tree = Hierarchy(wire, self._spec.secret, self._fence, self._patience)
        if known is None:
            # The credential may not ask the account: the file system may tell, and if nobody does it is flat.
            try:
                known = Hierarchy(wire, self._spec.secret, self._fence, Patience(1)).is_hierarchical()
            except StoreError:
                known = False
        if known:
            return tree
        wire.close()
        return None

    @cached_property
    def _sets_access(self) -> bool:
        """Whether permissions are given to the service, too: in a hierarchy, and if the credential says it may."""
        return self._tree is not None and "p" in "".join(
            parse_qs(self._spec.secret.lstrip("?")).get("sp", [])
        )

    @cached_property
    def traits(self) -> Traits:
        levels = MOST_LEVELS if self._tree is None else MOST_LEVELS_IN_A_HIERARCHY
        return Traits(
            holds=Holds(
                names.NameRules(
                    unit="utf16", part_length=0, path_length=LONGEST_NAME - len(utf16(self._top)),
                    levels=levels - names.depth(self._spec.subpath), utf8=True, xml=True, trailing_dot=False,
                    reserved=b"\\",  # The service makes a slash of it.
                ),
                symlinks=True, hard_links=False, attributes=True, max_size=MOST_PARTS * LARGEST_PART,
            ),
            # The service's own is by whole names: `a-b` comes before what is in `a`.
            order="none", folders="markers" if self._tree is None else "real",
            put_limit=self._part, part_size=self._part, max_parts=MOST_PARTS, threads=_THREADS,
        )  # fmt: skip

    # ------------------------------------------------------------ reading

    def probe(self) -> Root:
        # A listing of one: reading the container's properties is more than the credential of a run may do.
        _, answer = self._requests.list(self._top, most=1)
        return Root(self._identity, seconds(answer.headers.get("date", "")) * 10**9)

    def check_rights(self) -> None:
        self._requests.check_rights(self._top)

    def list(self, folder: bytes) -> Iterator[Entry]:
        prefix = self._top + folder + b"/" if folder else self._top
        listing = self._entries(prefix)
        first = next(listing, None)
        if first is None:
            if folder:
                present = self.blob(folder)
                if present is None or present.kind is not Kind.FOLDER:
                    raise NotFound(f"{names.escape(folder)}: no such folder")
            return iter(())
        return chain([first], listing)

    def _entries(self, prefix: bytes) -> Iterator[Entry]:
        """The entries, a page when it is asked for.  A marker is never on a later page than its prefix."""
        marked: set[bytes] = set()
        for page in self._pages(prefix):
            last = max((*(blob.name for blob in page.blobs), *page.prefixes), default=b"")
            for blob in page.blobs:
                if blob.name != prefix:
                    entry = listed(blob, below(prefix, blob.name))
                    if entry.kind is Kind.FOLDER:
                        marked.add(entry.name)
                    yield entry
            for whole in page.prefixes:
                if whole == prefix:
                    continue
                name = below(prefix, whole[:-1])
                if name in marked:
                    marked.remove(name)
                elif (folder := self._folder(whole[:-1], name)) is not None:
                    yield folder
            # What cannot have its prefix on a later page is not kept; in ASCII all services agree on the order.
            marked = {name for name in marked if not name.isascii() or prefix + name + b"/" > last}

    def _folder(self, whole: bytes, name: bytes) -> Entry | None:
        """A folder of which a listing tells no more than its name; None when it went meanwhile."""
        if self._tree is None or not name:
            return prefix_entry(name)
        answer = self._requests.head(whole)
        return None if answer is None else answered(name, answer, self._sets_access)

    def _pages(self, prefix: bytes) -> Iterator[Page]:
        marker = ""
        while True:
            page, _ = self._requests.list(prefix, marker, self._page, self._sets_access)
            yield page
            if not page.marker:
                return
            if page.marker == marker:
                raise StoreError("the service's listing does not go on")
            marker = page.marker

    def stat(self, path: bytes) -> Entry | None:
        if not path:
            return (self.blob(path) if self._top else None) or Entry(b"", Kind.FOLDER, sealed=False)
        return self.blob(path) or (prefix_entry(names.basename(path)) if self._has_inside(path) else None)

    def blob(self, path: bytes) -> Entry | None:
        """The blob of this name as it is now, a marker or a file."""
        answer = self._requests.head(self._name(path))
        return None if answer is None else answered(names.basename(path), answer, self._sets_access)

    def attributes(self, path: bytes) -> Attributes:
        present = self.stat(path)
        if present is None:
            raise NotFound(f"{names.escape(path)}: no such blob")
        return attributes_of(present.extra)

    def _has_inside(self, path: bytes) -> bool:
        page, _ = self._requests.list(self._name(path) + b"/", most=1)
        return bool(page.blobs or page.prefixes or page.marker)

    def _name(self, path: bytes) -> bytes:
        """The blob's whole name; the root's marker lies beside what is in the root."""
        return self._top + path if path else self._top[:-1]

    def open(self, path: bytes) -> ObjectReader:
        name = self._name(path)
        answer = self._requests.open(name, _START) or self._requests.head(name)
        if answer is None:
            raise NotFound(f"{names.escape(path)}: no such blob")
        entry = answered(names.basename(path), answer, self._sets_access)
        if entry.kind is not Kind.FILE:
            raise Unsupported(f"{names.escape(path)}: it is not a plain file")
        return ObjectReader(path, entry, answer.body, self.blob, self.read)

    def read(self, path: bytes, offset: int, size: int, etag: str) -> bytes | memoryview:
        """Bytes of one version of a blob.  Raises `Changed` when it is another one or gone."""
        try:
            return self._requests.get(self._top + path, offset, size, etag)
        except (Conflict, NotFound) as error:
            raise Changed(str(error)) from error

    def read_link(self, path: bytes) -> bytes:
        answer = self._requests.open(self._name(path), _LONGEST_LINK)
        if answer is None and self._requests.head(self._name(path)) is None:
            raise NotFound(f"{names.escape(path)}: no such blob")
        if answer is None or answered(b"", answer).kind is not Kind.LINK:
            raise Unsupported(f"{names.escape(path)}: not a link")
        return bytes(answer.body)

    # ------------------------------------------------------------ writing

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        if content.size > self._part:
            self._put_parts(path, content, like, expect)
            return
        # A copy where need be: the source may use its memory again before the last attempt to send it.
        data = content.whole()
        attributes = content.attributes()
        wanted = _metadata(like, attributes)
        whole = data if type(data) is bytes else bytes(data)
        self._put_whole(path, whole, like, wanted, etag_of(path, expect))
        self._give_access(path, like, attributes)

    def _put_whole(
        self, path: bytes, data: bytes, like: Entry, wanted: Mapping[str, str], etag: str | None
    ) -> None:
        name = self._name(path)
        settle = partial(self._is_done, path, len(data), wanted, etag)
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
        attributes = content.attributes()
        self.begin(path, ids, like, attributes)
        for index, part in enumerate(ids):
            self.stage(path, part, content.read(index * size, size))
        content.check()
        self.publish(path, ids, like, expect, attributes)

    def begin(self, path: bytes, parts: Sequence[str], like: Entry, attributes: Attributes = ()) -> None:
        """What cannot be kept is refused before gigabytes are sent."""
        _metadata(like, attributes)

    def staged(self, path: bytes) -> Mapping[str, int]:
        return self._requests.uncommitted(self._top + path)

    def stage(self, path: bytes, part: str, data: bytes | memoryview) -> None:
        self._requests.put_block(self._top + path, part, data)

    def publish(
        self,
        path: bytes,
        parts: Iterable[str],
        like: Entry,
        expect: Entry | None,
        attributes: Attributes = (),
    ) -> None:
        wanted = _metadata(like, attributes)
        etag = etag_of(path, expect)
        settle = partial(self._is_done, path, like.size, wanted, etag)
        self._requests.put_block_list(self._top + path, parts, wanted, etag, settle)
        self._give_access(path, like, attributes)

    def make_symlink(self, path: bytes, text: bytes, like: Entry, expect: Entry | None) -> None:
        if len(text) > _LONGEST_LINK:
            raise Unsupported(f"{names.escape(path)}: a link of {len(text)} bytes")
        like = like._replace(kind=Kind.LINK)
        self._put_whole(path, text, like, _metadata(like, ()), etag_of(path, expect))

    def make_link(self, path: bytes, existing: bytes, expect: Entry | None) -> None:
        raise Unsupported(f"{names.escape(path)}: a blob has one name")

    def make_folder(self, path: bytes) -> None:
        self._fence()
        if self._tree is None:
            return  # It is there as soon as something lies in it.
        try:
            self._tree.make_folder(self._name(path), {UNFINISHED: "true"}, partial(self._is_folder, path))
        except Conflict:
            if not self._is_folder(path):
                raise

    def _is_folder(self, path: bytes) -> bool | None:
        present = self.blob(path)
        return True if present is not None and present.kind is Kind.FOLDER else None

    def describe(
        self, path: bytes, like: Entry, expect: Entry | None, attributes: Attributes | None = None
    ) -> None:
        if not path and not self._top:
            return  # The container itself holds no metadata of ours.
        is_folder = like.kind is Kind.FOLDER
        if is_folder and (expect is None or not (expect.etag if self._tree else expect.sealed)):
            self._new_folder(path, like, attributes or ())
            return
        etag = etag_of(path, expect)
        if etag is None or expect is None:
            raise NotFound(f"{names.escape(path)}: no such blob")
        wanted = fitting(metadata_of(like, expect.extra, attributes), MOST_METADATA)
        settle = partial(self._is_done, path, expect.size, wanted, etag)
        if is_folder and self._tree:
            self._tree.set_metadata(self._name(path), wanted, etag, settle)
        else:
            self._requests.set_metadata(self._name(path), wanted, etag, settle)
        self._give_access(path, like, attributes_of(tuple(wanted.items())))

    def _new_folder(self, path: bytes, like: Entry, attributes: Attributes) -> None:
        wanted = _metadata(like, attributes)
        if self._tree is None:
            self._put_whole(path, b"", like, wanted, None)
            return
        settle = partial(self._is_done, path, 0, wanted, None)
        self._tree.make_folder(self._name(path), wanted, settle)
        self._give_access(path, like, attributes)

    def _give_access(self, path: bytes, like: Entry, attributes: Attributes) -> None:
        if self._sets_access and self._tree and like.mode is not None and like.kind is not Kind.LINK:
            self._tree.set_access(self._name(path), hierarchy.access(like.mode, attributes))

    def remove(self, path: bytes, expect: Entry) -> None:
        is_folder = expect.kind is Kind.FOLDER
        if is_folder and self._tree is None:
            if self._has_inside(path):
                raise Conflict(f"{names.escape(path)}: the folder is not empty")
            if not expect.sealed and not expect.etag:
                raise NotFound(f"{names.escape(path)}: the folder went with what lay in it")
        etag = etag_of(path, expect)
        if etag is None:
            raise Conflict(f"{names.escape(path)}: nothing says which version is meant")
        # Gone after an answer was lost: by our own hand.
        gone: Callable[[], bool | None] = lambda: True if self.blob(path) is None else None  # noqa: E731
        try:
            if is_folder and self._tree:
                self._tree.remove_folder(self._name(path), etag, gone)
            else:
                self._requests.delete(self._top + path, etag, gone)
        except Conflict as error:
            if gone():
                raise NotFound(f"{names.escape(path)}: no such blob") from error
            raise

    def close(self) -> None:
        self._wire.close()
        if tree := self.__dict__.get("_tree"):
            tree.close()

    def lane(self, source: Store) -> ObjectLane | None:
        if self._tree is not None or not isinstance(source, ReadsSmall):
            return None
        return ObjectLane(source, self._wire, self._new, self._first, self._fence, self.traits.put_limit)

    def _new(self, path: bytes, data: bytes, like: Entry) -> bytes | None:
        return self._requests.new_blob(self._top + path, data, lines_of(like) or lines(_metadata(like, ())))

    def _first(self, path: bytes, data: bytes, like: Entry) -> None:
        self._put_whole(path, data, like, _metadata(like, ()), None)

    # ------------------------------------------------------------ after an answer was lost

    def _is_done(
        self, path: bytes, size: int, wanted: Mapping[str, str], replaced: str | None
    ) -> bool | None:
        """Whether the write was carried out although nobody said so: another version, of our size and metadata."""
        answer = self._requests.head(self._name(path))
        if answer is None:
            return None
        metadata = metadata_in(answer)
        ours = all(metadata.get(key.lower()) == value for key, value in wanted.items())
        same_size = int(answer.headers.get("content-length", "-1")) == size
        return True if ours and same_size and answered(b"", answer).etag != replaced else None


def _metadata(like: Entry, attributes: Attributes) -> dict[str, str]:
    wanted = metadata_of(like, (), attributes)
    # Of itself it is far smaller than the limit.
    return fitting(wanted, MOST_METADATA) if attributes or like.extra else wanted
