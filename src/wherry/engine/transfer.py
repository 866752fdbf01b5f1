"""Copy one file: whole, in parts or in ranges, never a mixture of two versions.

The source is opened once and must stay the version that was planned for until its last byte is read; only then does
the target make it complete.  Large files go in pieces that all free threads share: parts with deterministic ids on a
store that keeps them, ranges of one draft on a local target; a later attempt goes on with what is there.  Called by
`deeds`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from wherry.engine.team import HEAVY
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import Changed, Corrupt, Denied, SourceDenied, StoreError
from wherry.model.options import Verify
from wherry.stores.port import (
    BeginsParts,
    Content,
    Describes,
    HasAttributes,
    Reader,
    Store,
    TakesParts,
    TakesRanges,
    part_ids,
    part_size,
)  # fmt: skip

if TYPE_CHECKING:
    from wherry.engine.deeds import Both

_PIECE = 1024 * 1024


def copy_file(both: Both, path: bytes, entry: Entry, expect: Entry | None) -> None:
    """Put the version `entry` of a source file on the target, where `expect` was seen.

    Raises `SourceDenied` when the source may not be read, `Changed` when it is not that version, `Conflict` when the
    target is not what was expected, `Corrupt` when reading back finds other bytes.
    """
    options = both.judge.options
    reader = _opened(both.source, path)
    try:
        strict = options.verify is not Verify.NONE
        # A small one is found to be another version right after it was read, too.
        if strict and entry.size > _PIECE and reader.entry().version != entry.version:
            raise Changed("it is not what the listing told")
        content = Content(reader, entry, strict, both.judge.preserved, staying(both, path, expect))
        _put(both, path, content, entry, expect)
        if _is_read_back(options.verify, options.sample):
            try:
                _read_back(both.target, path, content, both.moved)
            except Corrupt:
                _take_away(both.target, path)
                raise
            except StoreError:
                _put_in_doubt(both.target, path)
                raise
    finally:
        reader.close()


def _opened(source: Store, path: bytes) -> Reader:
    try:
        return source.open(path)
    except Denied as denied:
        raise SourceDenied(str(denied)) from denied


def staying(both: Both, path: bytes, present: Entry | None) -> Attributes:
    """The extended attributes of the target's item that are not to become those of the source."""
    judge, target = both.judge, both.target
    if (
        present is None
        or judge.keeps_all
        or present.kind is Kind.LINK
        or not isinstance(target, HasAttributes)
    ):
        return ()
    return judge.unpreserved(target.attributes(path))


def _put(both: Both, path: bytes, content: Content, entry: Entry, expect: Entry | None) -> None:
    target, like = both.target, both.judge.onto(entry, expect)
    limit = target.traits.put_limit
    if limit and content.size > limit and isinstance(target, TakesParts):
        _in_parts(both, target, path, content, like, expect)
    elif content.size >= HEAVY and isinstance(target, TakesRanges):
        _in_ranges(both, target, path, content, like, expect)
    else:
        both.pace(content.size)
        target.put(path, content, like, expect)


def _in_parts(
    both: Both, target: TakesParts, path: bytes, content: Content, like: Entry, expect: Entry | None
) -> None:
    size = part_size(content.size, target.traits)
    ids = part_ids(path, content.entry, size)
    attributes = content.attributes()
    if isinstance(target, BeginsParts):
        target.begin(path, ids, like, attributes)
    staged = target.staged(path)
    missing = [
        (part, index * size)
        for index, part in enumerate(ids)
        if staged.get(part) != min(size, content.size - index * size)
    ]
    with closing(_Hands(both.source, path, content)) as hands:

        def stage(piece: tuple[str, int]) -> None:
            part, offset = piece
            both.pace(min(size, content.size - offset))
            target.stage(path, part, hands.content().read(offset, size))
            both.moved()

        both.team.share(missing, stage)
    content.check()
    target.publish(path, ids, like, expect, attributes)


def _in_ranges(
    both: Both, target: TakesRanges, path: bytes, content: Content, like: Entry, expect: Entry | None
) -> None:
    draft = target.draft(path, content, like, expect)
    try:

        def write(piece: tuple[int, int]) -> None:
            both.pace(piece[1])
            draft.write(*piece)
            both.moved()

        if draft.alone:
            for piece in draft.ranges():
                write(piece)
        else:
            both.team.share(draft.ranges(), write)
        draft.finish()
    except BaseException:
        draft.discard()
        raise


class _Hands:
    """A reader for each thread that works on one file: a reader's buffer is for one at a time."""

    def __init__(self, source: Store, path: bytes, content: Content) -> None:
        self._source = source
        self._path = path
        self._content = content
        self._local = threading.local()
        self._local.content = content
        self._opened: list[Reader] = []

    def content(self) -> Content:
        """The content as this thread may read it."""
        mine: Content | None = getattr(self._local, "content", None)
        if mine is None:
            reader = _opened(self._source, self._path)
            self._opened.append(reader)
            if reader.entry().version != self._content.entry.version:
                raise Changed("it is not what the listing told")
            mine = self._local.content = self._content.by(reader)
        return mine

    def close(self) -> None:
        for reader in self._opened:
            reader.close()


def _is_read_back(verify: Verify, sample: int) -> bool:
    if verify is Verify.SAMPLE:
        return random.randrange(100) < sample  # noqa: S311 - no secret hangs on which files are looked at
    return verify is Verify.READBACK


def _take_away(target: Store, path: bytes) -> None:
    """Remove what holds wrong bytes: by size and time the next run would take it for equal."""
    with suppress(StoreError):
        written = target.stat(path)
        if written is not None:
            target.remove(path, written)


def _put_in_doubt(target: Store, path: bytes) -> None:
    """Give what could not be read back another time than the source's: no later run takes it for equal."""
    with suppress(StoreError):
        written = target.stat(path)
        if written is not None and isinstance(target, Describes):
            target.describe(path, written._replace(modified=0), written)


def _read_back(target: Store, path: bytes, content: Content, moved: Callable[[], None]) -> None:
    with closing(target.open(path)) as written:
        at = _first_difference(content, written, moved)
        if at is not None:
            raise Corrupt(f"it differs from the source within {_PIECE} bytes of {at}")


def _first_difference(content: Content, written: Reader, moved: Callable[[], None]) -> int | None:
    """Near which offset two files of one size differ; None when they are equal."""
    for offset in range(0, content.size, _PIECE):
        wanted = content.read(offset, _PIECE)
        if _exactly(written, offset, len(wanted)) != wanted:
            return offset
        moved()
    return content.size if len(written.read_at(content.size, 1)) else None


def _exactly(reader: Reader, offset: int, size: int) -> bytes | memoryview:
    piece = reader.read_at(offset, size)
    if len(piece) in (0, size):
        return piece
    whole = bytearray(piece)
    while len(whole) < size and (piece := reader.read_at(offset + len(whole), size - len(whole))):
        whole += piece
    return bytes(whole)


def is_equal(both: Both, path: bytes, entry: Entry) -> bool:
    """Whether source and target hold the same bytes; the source must be the version `entry` all the while."""
    with closing(_opened(both.source, path)) as reader, closing(both.target.open(path)) as written:
        if reader.entry().version != entry.version:
            raise Changed("it is not what the listing told")
        content = Content(reader, entry)
        at = _first_difference(content, written, both.moved)
        content.check()
        return at is None
