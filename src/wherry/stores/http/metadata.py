"""The metadata of an item as metadata of its object, in the keys that Azure Storage Mover's engine uses.

`docs/reference/metadata.md` lists the keys.  What is missing, malformed or out of range in an object of somebody
else is unknown (None), never an error, so that the object counts as different.  Called by the adapters of object
stores.
"""

from __future__ import annotations

import calendar
import re
import stat
import zlib
from collections.abc import Mapping
from functools import lru_cache

from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import MetadataTooLarge
from wherry.stores.http import attributes as coded

MODE = "permissions"
MODIFIED = "modtime"
OWNER = "posix_owner"
GROUP = "posix_group"
CHANGED = "posix_ctime"
LINKS = "posix_nlink"
INODE = "posix_ino"
DEVICE = "posix_dev"
FOLDER = "hdi_isfolder"
SYMLINK = "is_symlink"
ATTRIBUTES = "wherry_xattrs"
UNFINISHED = "wherry_unfinished"
OURS = frozenset({
    MODE, MODIFIED, OWNER, GROUP, CHANGED, LINKS, INODE, DEVICE, FOLDER, SYMLINK, UNFINISHED, "posix_atime",
    "posix_rdev",
})  # fmt: skip
# Other engines leave empty objects for what is neither file, folder nor link.
_SPECIAL = frozenset({"is_fifo", "is_socket", "is_char_dev", "is_block_dev"})

# In ns since 1970: more than calendars have, and more than 64 bits.
_FARTHEST = 10**22
_LONGEST_NUMBER = 24

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE = re.compile(r"[ -~]*")
_DATE = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TYPES = {Kind.FILE: stat.S_IFREG, Kind.FOLDER: stat.S_IFDIR, Kind.LINK: stat.S_IFLNK}


def metadata_of(
    like: Entry, kept: tuple[tuple[str, str], ...] = (), attributes: Attributes | None = None
) -> dict[str, str]:
    """The metadata that keeps what `like` tells; `kept` is metadata of the object that stays.

    `attributes` take the place of those in `kept`, None leaves them.
    """
    out = _carried(like, kept, attributes) if kept or like.extra else {}
    if attributes:
        out[ATTRIBUTES] = coded.encode(attributes)
    if like.mode is not None:
        out[MODE] = str(_TYPES.get(like.kind, stat.S_IFREG) | (like.mode & 0o7777))
    if like.modified is not None:
        out[MODIFIED] = str(like.modified)
    if like.uid is not None:
        out[OWNER] = str(like.uid)
    if like.gid is not None:
        out[GROUP] = str(like.gid)
    if like.changed is not None:
        out[CHANGED] = str(like.changed)
    if like.kind is not Kind.FILE:
        out[FOLDER if like.kind is Kind.FOLDER else SYMLINK] = "true"
    elif like.links > 1:
        out |= {LINKS: str(like.links), INODE: str(like.inode), DEVICE: str(like.device)}
    return out


def _carried(like: Entry, kept: tuple[tuple[str, str], ...], attributes: Attributes | None) -> dict[str, str]:
    """Metadata of others, and extended attributes that stay; those of `like` come as `attributes` when wanted."""
    out = {key: value for key, value in (*kept, *like.extra) if _is_sound(key, value)}
    out.pop(ATTRIBUTES, None)
    if attributes is None:
        out |= {key: value for key, value in kept if key == ATTRIBUTES and _is_sound(key, value)}
    return out


def fitting(metadata: dict[str, str], most: int) -> dict[str, str]:
    """The metadata, when keys and values together are within the limit of the service."""
    size = sum(map(len, metadata)) + sum(map(len, metadata.values()))
    if size > most:
        raise MetadataTooLarge(f"its metadata takes {size} bytes, the target holds {most}")
    return metadata


def entry_of(name: bytes, size: int, last_modified: str, etag: str, metadata: Mapping[str, str]) -> Entry:
    """The entry of an object with this metadata (keys in lower case)."""
    get = metadata.get
    mode = _number(get(MODE), 0, 0o177777)
    modified = _number(get(MODIFIED), -_FARTHEST, _FARTHEST)
    kind, links, device, inode = Kind.FILE, 1, 0, 0
    if get(FOLDER, "").lower() == "true":
        kind = Kind.FOLDER
    elif get(SYMLINK, "").lower() == "true":
        kind = Kind.LINK
    elif not _SPECIAL.isdisjoint(metadata):
        kind = Kind.SPECIAL
    elif LINKS in metadata:
        links, device, inode = _names(metadata, size, modified)
    return Entry._make((
        name, kind, size if kind is Kind.FILE else 0, modified, seconds(last_modified) * 10**9,
        None if mode is None else mode & 0o7777,
        _number(get(OWNER), 0, 2**32 - 1), _number(get(GROUP), 0, 2**32 - 1),
        links, device, inode, etag.strip('"'), UNFINISHED not in metadata,
        () if OURS.issuperset(metadata) else _foreign(metadata),
        _number(get(CHANGED), -(2**63), 2**63 - 1),
    ))  # fmt: skip


def attributes_of(extra: tuple[tuple[str, str], ...]) -> Attributes:
    """The extended attributes among what an entry has in `extra`; none when they are malformed."""
    return next((coded.decode(value) for key, value in extra if key == ATTRIBUTES), ())


def _names(metadata: Mapping[str, str], size: int, modified: int | None) -> tuple[int, int, int]:
    """How many names the file had, and a device and an inode by which they are known to be of one file.

    Numbers of inodes come again for other files, and objects of several years may lie side by side: what differs
    in size or time is never one file, so both are part of the device.
    """
    links = _number(metadata.get(LINKS), 1, 2**32 - 1) or 1
    inode = _number(metadata.get(INODE), 1, 2**64 - 1)
    device = _number(metadata.get(DEVICE), 0, 2**64 - 1)
    if links < 2 or inode is None or device is None:
        return 1, 0, 0
    return links, zlib.crc32(f"{device} {size} {modified}".encode()), inode


def _foreign(metadata: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in metadata.items() if key not in OURS))


def _number(text: str | None, least: int, most: int) -> int | None:
    if (
        text is None
        or len(text) > _LONGEST_NUMBER
        or not text.isascii()
        or not text.removeprefix("-").isdigit()
    ):
        return None
    number = int(text)
    return number if least <= number <= most else None


def _is_sound(key: str, value: str) -> bool:
    """Whether a header can carry it and the service takes it."""
    return bool(_KEY.fullmatch(key)) and bool(_VALUE.fullmatch(value)) and key.lower() not in OURS


@lru_cache(maxsize=4096)
def seconds(date: str) -> int:
    """The seconds since 1970 of a date as HTTP writes it; 0 when it is none."""
    found = _DATE.fullmatch(date.strip())
    if found is None or found[2] not in _MONTHS:
        return 0
    day, month, year, hour, minute, second = found.groups()
    return calendar.timegm(
        (int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
    )
