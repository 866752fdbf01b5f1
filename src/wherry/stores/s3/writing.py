"""Changes of objects: each names the version that it replaces and settles what became of it when no answer came.

Called by `store`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

from wherry.model import names
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import Conflict, NotFound, StoreError, Unavailable
from wherry.stores.http.metadata import fitting, metadata_of
from wherry.stores.http.wire import Answer
from wherry.stores.s3 import properties
from wherry.stores.s3.conditions import Conditions
from wherry.stores.s3.listing import Part
from wherry.stores.s3.multipart import Multipart
from wherry.stores.s3.objects import Objects, Settle, kept
from wherry.stores.s3.service import Service
from wherry.stores.s3.uploads import Uploads, digest_of

# Keys and values of all metadata together.
MOST_METADATA = 2048
LARGEST_COPY = 5 * 1024**3
COPIED_AT_ONCE = 1024**3


class Writing:
    """The changes of one bucket, by keys."""

    def __init__(self, service: Service, objects: Objects) -> None:
        self._service = service
        self._objects = objects
        self._multipart = Multipart(service, objects)
        self._conditions = Conditions(service, objects)
        self.uploads = Uploads(self._multipart, service.place.prefix)
        self.check_rights = self._conditions.check_rights

    def put(self, key: bytes, data: bytes, wanted: dict[str, str], etag: str | None) -> None:
        """A whole object in place of this version, or of nothing."""

        def ours() -> str:
            return hashlib.md5(data, usedforsecurity=False).hexdigest()

        settle = self._settled(key, len(data), wanted, etag, ours)
        condition = self._conditions.before(key, etag)
        fitting(wanted, MOST_METADATA)
        self._done(key, self._objects.put(key, data, wanted, condition, settle))

    def new(self, key: bytes, data: bytes, wanted: dict[str, str]) -> bytes | None:
        """The head of the request for a whole object where nothing is; None while that takes more than one."""
        if not self._conditions.are_kept:
            return None
        return self._objects.new_object(key, data, fitting(wanted, MOST_METADATA))

    def publish(
        self, key: bytes, parts: Iterable[str], size: int, wanted: dict[str, str], etag: str | None
    ) -> None:
        """The object of these parts in place of this version, or of nothing."""
        upload, chosen = self.uploads.chosen(key, parts)
        # Not every service that keeps to conditions does so here.
        self._conditions.look(key, etag)
        condition = self._conditions.before(key, etag)
        has_metadata = upload.digest == digest_of(wanted)
        settle = self._settled(key, size, wanted if has_metadata else {}, etag, lambda: _of_parts(chosen))
        answer = self._multipart.complete(key, upload.begun, chosen, condition, settle)
        if isinstance(answer, Answer) and answer.code == "NoSuchUpload":
            self.uploads.forget(key)
            raise Unavailable(f"{names.escape(key)}: its upload was ended by somebody")
        self._done(key, answer)
        self.uploads.ended(key, upload)
        if not has_metadata and (now := self._objects.head(key)) is not None:
            self._rewrite(key, now, wanted)

    def describe(self, key: bytes, like: Entry, expect: Entry, attributes: Attributes | None) -> None:
        """Other metadata for the same bytes."""
        now = self._objects.head(key)
        if now is None:
            raise NotFound(f"{names.escape(key)}: no such object")
        seen = properties.entry(b"", now, folder=False)
        if not properties.is_still(seen, expect):
            raise Conflict(f"{names.escape(key)}: it is not what was seen there")
        self._rewrite(key, now, metadata_of(like, seen.extra, attributes))

    def mark(self, key: bytes, like: Entry, expect: Entry | None, attributes: Attributes | None) -> None:
        """The marker of a folder, as new or in place of what is there."""
        now = self._objects.head(key)
        seen = properties.entry(b"", now, folder=True) if now else None
        if expect is not None and expect.etag and (seen is None or not properties.is_still(seen, expect)):
            raise Conflict(f"{names.escape(key)}: it is not what was seen there")
        wanted = metadata_of(like, seen.extra if seen else (), attributes)
        if now is None or not _equals(now, wanted):
            self.put(key, b"", wanted, seen.etag if seen else None)

    def delete(self, key: bytes, expect: Entry) -> None:
        """The object, if it is what was seen; of a folder its marker, whatever it says, when nobody knows that."""
        now = self._objects.head(key)
        if now is None:
            raise NotFound(f"{names.escape(key)}: no such object")
        seen = properties.entry(b"", now, expect.kind is Kind.FOLDER)
        unknown = expect.kind is Kind.FOLDER and not expect.etag
        if not unknown and not properties.is_still(seen, expect):
            raise Conflict(f"{names.escape(key)}: it is not what was seen there")

        def gone() -> bool | None:
            return True if self._objects.head(key) is None else None

        answer = self._objects.delete(key, {"if-match": f'"{seen.etag}"'}, gone)
        if isinstance(answer, Answer) and answer.status == 501:
            answer = self._objects.delete(key, {}, gone)
        self._done(key, answer, missing=NotFound)

    # ------------------------------------------------------------ metadata

    def _rewrite(self, key: bytes, now: Answer, wanted: Mapping[str, str]) -> None:
        """The object that `now` tells of, copied onto itself with other metadata."""
        wanted = fitting(dict(wanted), MOST_METADATA)
        size = properties.size(now)
        if size > LARGEST_COPY:
            self._rewrite_parts(key, now, size, wanted)
            return

        def settle() -> bool | None:
            then = self._objects.head(key)
            return True if then and _equals(then, wanted) and properties.size(then) == size else None

        self._done(key, self._objects.copy(key, now, wanted, settle))

    def _rewrite_parts(self, key: bytes, now: Answer, size: int, wanted: Mapping[str, str]) -> None:
        """The same for what is too large for one copy."""
        etag = properties.etag(now)
        begun = self._multipart.create(key, wanted, kept(now))
        try:
            parts = [
                (
                    number,
                    self._multipart.copy(key, begun, number, first, min(COPIED_AT_ONCE, size - first), etag),
                )
                for number, first in enumerate(range(0, size, COPIED_AT_ONCE), 1)
            ]
            settle = self._settled(key, size, wanted, etag, lambda: _of_parts(parts))
            condition = self._conditions.before(key, etag)
            self._done(key, self._multipart.complete(key, begun, parts, condition, settle))
        except StoreError:
            self._multipart.abort(key, begun.id)
            raise

    # ------------------------------------------------------------ outcomes

    def _done(self, key: bytes, answer: Answer | bool, missing: type[StoreError] = Conflict) -> None:
        """Raise what a refusal means; an object that a condition names and that is gone is `missing`."""
        if not isinstance(answer, Answer):
            return
        if answer.status == 404 and answer.code in ("NoSuchKey", ""):
            raise missing(f"{names.escape(key)}: no such object")
        self._service.checked(answer, key)

    def _settled(
        self, key: bytes, size: int, wanted: Mapping[str, str], replaced: str | None, ours: Callable[[], str]
    ) -> Settle:
        """Whether a write was carried out although nobody said so: an object of our size and metadata, with another
        etag than was replaced, or with the etag that our bytes make.
        """

        def look() -> bool | None:
            now = self._objects.head(key)
            if now is None or properties.size(now) != size or not _has(now, wanted):
                return None
            etag = properties.etag(now)
            return True if etag != replaced or etag == ours() else None

        return look


def _has(now: Answer, wanted: Mapping[str, str]) -> bool:
    there = properties.metadata(now)
    return all(there.get(name.lower()) == value for name, value in wanted.items())


def _equals(now: Answer, wanted: Mapping[str, str]) -> bool:
    return properties.metadata(now) == {name.lower(): value for name, value in wanted.items()}


def _of_parts(parts: Iterable[tuple[int, Part]]) -> str:
    """The etag that an object of these parts has, where etags are made of bytes."""
    etags = [part.etag for _, part in parts]
    try:
        whole = hashlib.md5(b"".join(map(bytes.fromhex, etags)), usedforsecurity=False)
    except ValueError:
        return ""
    return f"{whole.hexdigest()}-{len(etags)}"
