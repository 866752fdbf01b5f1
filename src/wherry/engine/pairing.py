"""What two stores have by the same names, as pairs in the order of names.  Used by `walk` for each block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from operator import itemgetter

from wherry.model.entry import Alike, Entry, Glance, Kind
from wherry.model.plan import Pair

# Of an entry; by number, because they are asked for with every item.
_name_of, _kind_of = itemgetter(0), itemgetter(1)
_size_told = itemgetter(4)
_NOTHING = Entry(b"", Kind.FILE)


def name_of(item: Pair | Alike) -> bytes:
    """The name that both sides have."""
    if isinstance(item, Alike):
        return item[0]
    return (item[0] or item[1] or _NOTHING).name


def pair_off(source: list[Entry], target: list[Entry]) -> list[Pair]:
    """Pairs by name of two sorted listings."""
    if not target:
        return [(entry, None) for entry in source]
    if not source:
        return [(None, entry) for entry in target]
    ours = list(map(_name_of, source))
    if ours == list(map(_name_of, target)) and len(set(ours)) == len(ours):
        return list(zip(source, target, strict=True))
    return list(merge(source, target))


def merge(source: list[Entry], target: list[Entry]) -> Iterator[Pair]:
    """Pairs by name of two sorted listings.

    A store that holds a file and a folder of one name has each paired with the one of its kind; what is left
    over on the target is an item of its own.
    """
    at, count = 0, len(target)
    same: list[Entry] = []
    for number, entry in enumerate(source, 1):
        name = entry[0]
        twin = number < len(source) and source[number][0] == name
        alone = not same and not twin and (at + 1 >= count or target[at + 1][0] != name)
        if alone and at < count and target[at][0] == name:
            yield entry, target[at]
            at += 1
            continue
        while at < count and target[at][0] < name:
            yield None, target[at]
            at += 1
        while at < count and target[at][0] == name:
            same.append(target[at])
            at += 1
        other = same[0] if same and not twin else None
        partner = next((one for one in same if one.kind is entry.kind), other)
        yield entry, partner
        same = [one for one in same if one is not partner]
        if not twin:
            yield from ((None, one) for one in same)
            same = []
    for entry in target[at:]:
        yield None, entry


def any_folder(source: list[Entry], target: list[Entry]) -> bool:
    """Whether a folder is among them."""
    return Kind.FOLDER in map(_kind_of, chain(source, target))


def all_alike(names: list[bytes], glance: Glance) -> list[Pair | Alike]:
    """Items that are the same on both sides.  Quick."""
    return list(map(tuple.__new__, repeat(Alike), zip(names, map(_size_told, glance.told), strict=True)))


def parted(items: list[Pair | Alike]) -> tuple[list[Pair], list[Alike]]:
    """Those on which there is something to decide, and the others."""
    return [item for item in items if not isinstance(item, Alike)], [
        item for item in items if isinstance(item, Alike)
    ]


def holds_folder(pair: Pair) -> bool:
    """Whether one of the two is a folder."""
    source, target = pair
    if source is not None and source[1] is Kind.FOLDER:
        return True
    return target is not None and target[1] is Kind.FOLDER


def after_folder(items: list[Pair | Alike], begin: int, end: int) -> int:
    """Right after the first pair with a folder in it, or `end`."""
    for at in range(begin, end):
        item = items[at]
        if not isinstance(item, Alike) and holds_folder(item):
            return at + 1
    return end


def put_folders_last(pairs: list[Pair]) -> None:
    """Of one name the folder last: the walk goes on in it and never comes back before it."""
    pairs.sort(key=lambda pair: (name_of(pair), (pair[0] or pair[1] or _NOTHING).kind is Kind.FOLDER))
