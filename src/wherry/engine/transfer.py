"""Copy one file: whole or in parts, never a mixture of two versions.

The source is opened once and must stay the version that was planned for until its last byte is read; only
then does the target make it complete.  Large files go in parts with deterministic ids, so that a later attempt
goes on with what is already staged.  Called by `deeds`, in worker processes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress

from wherry.model.entry import Entry
from wherry.model.errors import Changed, Corrupt, Denied, SourceDenied, StoreError
from wherry.model.options import Verify
from wherry.stores.port import Content, Reader, Store, TakesParts, part_ids

_PIECE = 1024 * 1024


def copy_file(
    source: Store,
    target: Store,
    path: bytes,
    entry: Entry,
    expect: Entry | None,
    verify: Verify,
    moved: Callable[[], None],
) -> None:
    """Put the version `entry` of a source file on the target, where `expect` was seen.

    Raises `SourceDenied` when the source may not be read, `Changed` when it is not that version, `Conflict` when the
    target is not what was expected, `Corrupt` when reading back finds other bytes.  `moved` is called whenever
    something was sent.
    """
    with closing(_opened(source, path)) as reader:
        strict = verify is not Verify.NONE
        if strict and reader.entry().version != entry.version:
            raise Changed("it is not what the listing told")
        content = Content(reader, entry, strict)
        limit = target.traits.put_limit
        if limit and entry.size > limit and isinstance(target, TakesParts):
            _in_parts(target, path, content, expect, moved)
        else:
            target.put(path, content, entry, expect)
        if verify is Verify.READBACK:
            try:
                _read_back(target, path, content, moved)
            except Corrupt:
                _take_away(target, path)
                raise


def _opened(source: Store, path: bytes) -> Reader:
    try:
        return source.open(path)
    except Denied as denied:
        raise SourceDenied(str(denied)) from denied


def _in_parts(
    target: TakesParts, path: bytes, content: Content, expect: Entry | None, moved: Callable[[], None]
) -> None:
    traits = target.traits
    size = traits.part_size
    if traits.max_parts:
        size = max(size, -(-content.size // traits.max_parts))
    ids = part_ids(path, content.entry, size)
    staged = target.staged(path)
    for index, part in enumerate(ids):
        length = min(size, content.size - index * size)
        if staged.get(part) != length:
            target.stage(path, part, content.read(index * size, size))
            moved()
    content.check()
    target.publish(path, ids, content.entry, expect)


def _take_away(target: Store, path: bytes) -> None:
    """Remove what holds wrong bytes: by size and time the next run would take it for equal."""
    with suppress(StoreError):
        written = target.stat(path)
        if written is not None:
            target.remove(path, written)


def _read_back(target: Store, path: bytes, content: Content, moved: Callable[[], None]) -> None:
    with closing(target.open(path)) as written:
        for offset in range(0, content.size, _PIECE):
            if written.read_at(offset, _PIECE) != content.read(offset, _PIECE):
                raise Corrupt(f"it differs from the source within {_PIECE} bytes of {offset}")
            moved()
        if len(written.read_at(content.size, 1)):
            raise Corrupt("it is longer than the source")
