"""A bucket of S3 as source or target.

A folder is an empty object whose key ends in a slash and that holds its metadata, or only the prefix of what lies in
it; both together are one entry.  A symbolic link is an object that says so and whose bytes are its text.  Listings
hold no metadata (`Traits.bare`).  Called by the engine through the port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from wherry.model import names
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import Changed, Conflict, NotFound, StoreError, Unsupported
from wherry.model.plan import Holds
from wherry.stores.http.lane import ObjectLane
from wherry.stores.http.metadata import attributes_of, fitting, metadata_of, seconds
from wherry.stores.http.patience import Patience
from wherry.stores.http.reader import ObjectReader
from wherry.stores.http.wire import Wire
from wherry.stores.lane import ReadsSmall
from wherry.stores.port import Content, Fence, Root, Store, StoreSpec, Traits, no_fence, part_ids, part_size
from wherry.stores.s3 import properties
from wherry.stores.s3.folder import entries, prefix_entry
from wherry.stores.s3.listing import Page
from wherry.stores.s3.objects import Objects
from wherry.stores.s3.place import Place
from wherry.stores.s3.service import Service
from wherry.stores.s3.signature import Signer
from wherry.stores.s3.uploads import stem_and_number
from wherry.stores.s3.writing import MOST_METADATA, Writing

LONGEST_KEY = 1024
MOST_PARTS = 10_000
PART = 8 * 1024 * 1024
LARGEST = 5 * 1024**4
# As much as comes with the opening of a file, and the longest text of a link.
_START = 128 * 1024
_LONGEST_LINK = 64 * 1024
_THREADS = 64


class S3Store:
    """See the module."""

    def __init__(
        self, spec: StoreSpec, fence: Fence = no_fence, patience: Patience | None = None,
        part: int = PART, page: int = 1000,
    ) -> None:  # fmt: skip
        self._fence = fence
        place = Place.parse(spec.location, spec.subpath, spec.region)
        secret, _, token = spec.secret.partition("\n")
        self._wire = Wire(place.address, spec.ca_file, private=spec.private, ca_pem=spec.ca_pem, way=spec.way)
        self._service = Service(
            place,
            self._wire,
            Signer(spec.identity, secret, token, place.region),
            fence,
            patience or Patience(),
        )
        self._objects = Objects(self._service)
        self._writing = Writing(self._service, self._objects)
        self._top = place.prefix
        self._page = page
        self._identity = f"s3:{place.address.netloc}/{place.bucket}/{names.escape(place.prefix)}"
        self.traits = Traits(
            holds=Holds(
                names.NameRules(part_length=0, path_length=LONGEST_KEY - len(place.prefix), utf8=True),
                hard_links=False, attributes=True, max_size=LARGEST,
            ),
            # The service's own is by whole keys: `a-b` comes before what is in `a`.
            order="none", folders="markers", put_limit=part, part_size=part, max_parts=MOST_PARTS,
            threads=_THREADS, bare=True,
        )  # fmt: skip

    # ------------------------------------------------------------ reading

    def probe(self) -> Root:
        _, answer = self._objects.list(self._top, most=1)
        return Root(self._identity, seconds(answer.headers.get("date", "")) * 10**9)

    def rest(self) -> None:
        self._writing.uploads.forget_all()

    def check_rights(self) -> None:
        self._writing.check_rights()

    def list(self, folder: bytes) -> Iterator[Entry]:
        prefix = self._folder_key(folder)
        first, _ = self._objects.list(prefix, "", self._page)
        if folder and not (first.objects or first.prefixes or first.token):
            raise NotFound(f"{names.escape(folder)}: no such folder")
        return self._entries(prefix, first)

    def _entries(self, prefix: bytes, page: Page) -> Iterator[Entry]:
        """Those of this page and of the following ones, which are asked for one by one."""
        while True:
            yield from entries(prefix, page)
            token = page.token
            if not token:
                return
            page, _ = self._objects.list(prefix, token, self._page)
            if page.token == token:
                raise StoreError("the service's listing does not go on")

    def stat(self, path: bytes) -> Entry | None:
        return (self.file(path) if path else None) or self._folder(path)

    def file(self, path: bytes) -> Entry | None:
        """The file or link of this name as it is now."""
        answer = self._objects.head(self._top + path)
        return None if answer is None else properties.entry(names.basename(path), answer, folder=False)

    def told(self, folder: bytes, entry: Entry) -> Entry | None:
        """A listed entry with all that can be known of it; None when it is gone."""
        path = names.join(folder, entry.name)
        if entry.kind is Kind.FILE:
            return self.file(path)
        marker = self._objects.head(self._folder_key(path)) if entry.kind is Kind.FOLDER else None
        return properties.entry(entry.name, marker, folder=True) if marker else entry

    def _folder(self, path: bytes) -> Entry | None:
        key, name = self._folder_key(path), names.basename(path)
        if not path:
            marker = self._objects.head(key) if key else None
            found = properties.entry(b"", marker, folder=True) if marker else None
            return found or Entry(b"", Kind.FOLDER, sealed=False)
        page, _ = self._objects.list(key, most=1)
        if not (page.objects or page.prefixes):
            return None
        if page.objects and page.objects[0].key == key and (answer := self._objects.head(key)) is not None:
            return properties.entry(name, answer, folder=True)
        return prefix_entry(name)

    def _folder_key(self, path: bytes) -> bytes:
        return self._top + path + b"/" if path else self._top

    def open(self, path: bytes) -> ObjectReader:
        key = self._top + path
        answer = self._objects.open(key, _START) or self._objects.head(key)
        if answer is None:
            raise NotFound(f"{names.escape(path)}: no such object")
        entry = properties.entry(names.basename(path), answer, folder=False)
        if entry.kind is not Kind.FILE:
            raise Unsupported(f"{names.escape(path)}: it is not a plain file")
        return ObjectReader(path, entry, answer.body, self.file, self.read)

    def read(self, path: bytes, offset: int, size: int, etag: str) -> bytes | memoryview:
        """Bytes of one version of an object.  Raises `Changed` when it is another one or gone."""
        try:
            return self._objects.get(self._top + path, offset, size, etag)
        except (Conflict, NotFound) as error:
            raise Changed(str(error)) from error

    def attributes(self, path: bytes) -> Attributes:
        entry = self.stat(path)
        if entry is None:
            raise NotFound(f"{names.escape(path)}: no such object")
        return attributes_of(entry.extra)

    def read_link(self, path: bytes) -> bytes:
        key = self._top + path
        answer = self._objects.open(key, _LONGEST_LINK)
        if answer is None and self._objects.head(key) is None:
            raise NotFound(f"{names.escape(path)}: no such object")
        if answer is None or properties.entry(b"", answer, folder=False).kind is not Kind.LINK:
            raise Unsupported(f"{names.escape(path)}: it is not a symbolic link")
        return bytes(answer.body)

    # ------------------------------------------------------------ writing

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        wanted = metadata_of(like, attributes=content.attributes())
        if content.size > self.traits.put_limit:
            # What cannot be kept is refused before gigabytes are sent.
            fitting(wanted, MOST_METADATA)
            self._put_parts(path, content, like, wanted, expect)
            return
        # A copy where need be: the source may use its memory again before the last attempt to send it.
        data = content.whole()
        whole = data if type(data) is bytes else bytes(data)
        self._writing.put(self._top + path, whole, wanted, _expected(path, expect))

    def lane(self, source: Store) -> ObjectLane | None:
        if not isinstance(source, ReadsSmall):
            return None
        return ObjectLane(source, self._wire, self._new, self._first, self._fence, self.traits.put_limit)

    def _new(self, path: bytes, data: bytes, like: Entry) -> bytes | None:
        return self._writing.new(self._top + path, data, metadata_of(like))

    def _first(self, path: bytes, data: bytes, like: Entry) -> None:
        self._writing.put(self._top + path, data, metadata_of(like), None)

    def _put_parts(
        self, path: bytes, content: Content, like: Entry, wanted: dict[str, str], expect: Entry | None
    ) -> None:
        size = part_size(content.size, self.traits)
        ids = part_ids(path, content.entry, size)
        key = self._top + path
        upload = self._writing.uploads.begin(key, stem_and_number(ids[0])[0], wanted)
        for index, part in enumerate(ids):
            there = upload.parts.get(index + 1)
            if there is None or there.size != min(size, content.size - index * size):
                self.stage(path, part, content.read(index * size, size))
        content.check()
        self._writing.publish(key, ids, like.size, wanted, _expected(path, expect))

    def begin(self, path: bytes, parts: Sequence[str], like: Entry, attributes: Attributes = ()) -> None:
        """The metadata of a file that comes in parts: an upload has it from its beginning."""
        wanted = fitting(metadata_of(like, attributes=attributes), MOST_METADATA)
        self._writing.uploads.begin(self._top + path, stem_and_number(parts[0])[0], wanted)

    def staged(self, path: bytes) -> Mapping[str, int]:
        return self._writing.uploads.staged(self._top + path)

    def stage(self, path: bytes, part: str, data: bytes | memoryview) -> None:
        self._writing.uploads.stage(self._top + path, part, data)

    def publish(
        self,
        path: bytes,
        parts: Iterable[str],
        like: Entry,
        expect: Entry | None,
        attributes: Attributes = (),
    ) -> None:
        wanted = fitting(metadata_of(like, attributes=attributes), MOST_METADATA)
        self._writing.publish(self._top + path, parts, like.size, wanted, _expected(path, expect))

    def make_symlink(self, path: bytes, text: bytes, like: Entry, expect: Entry | None) -> None:
        wanted = metadata_of(like._replace(kind=Kind.LINK))
        self._writing.put(self._top + path, text, wanted, _expected(path, expect))

    def make_link(self, path: bytes, existing: bytes, expect: Entry | None) -> None:
        raise Unsupported(f"{names.escape(path)}: a bucket holds no hard links")

    def describe(
        self, path: bytes, like: Entry, expect: Entry | None, attributes: Attributes | None = None
    ) -> None:
        if like.kind is Kind.FOLDER:
            if path or self._top:
                self._writing.mark(self._folder_key(path), like, expect, attributes)
            return  # The bucket itself holds no metadata of ours.
        if expect is None or _expected(path, expect) is None:
            raise NotFound(f"{names.escape(path)}: no such object")
        self._writing.describe(self._top + path, like, expect, attributes)

    def remove(self, path: bytes, expect: Entry) -> None:
        if expect.kind is not Kind.FOLDER:
            _expected(path, expect)
            self._writing.delete(self._top + path, expect)
            return
        key = self._folder_key(path)
        page, _ = self._objects.list(key, most=2)
        if page.prefixes or any(one.key != key for one in page.objects):
            raise Conflict(f"{names.escape(path)}: the folder is not empty")
        self._writing.delete(key, expect)

    def close(self) -> None:
        self._wire.close()


def _expected(path: bytes, expect: Entry | None) -> str | None:
    """The etag that has to be there; None when nothing may be there, since a folder has another key."""
    if expect is None or expect.kind is Kind.FOLDER:
        return None
    if not expect.etag:
        raise Conflict(f"{names.escape(path)}: nothing says which version is meant")
    return expect.etag
