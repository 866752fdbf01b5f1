"""The metadata of an item as metadata of its object, in the keys that Azure Storage Mover's engine uses.

What is missing, malformed or out of range in an object of somebody else is unknown (None), never an error, so
that the object counts as different.  Called by the adapters of object stores.
"""

from __future__ import annotations

import calendar
import re
import stat
from collections.abc import Mapping
from functools import lru_cache

from wherry.model.entry import Entry, Kind

MODE = "permissions"
MODIFIED = "modtime"
OWNER = "posix_owner"
GROUP = "posix_group"
CHANGED = "posix_ctime"
LINKS = "posix_nlink"
FOLDER = "hdi_isfolder"
OURS = frozenset({MODE, MODIFIED, OWNER, GROUP, CHANGED, LINKS, FOLDER, "posix_atime"})

_NUMBER = re.compile(r"-?[0-9]{1,20}")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE = re.compile(r"[ -~]*")
_DATE = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TYPES = {Kind.FILE: stat.S_IFREG, Kind.FOLDER: stat.S_IFDIR}


def metadata_of(like: Entry, kept: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
    """The metadata that keeps what `like` tells; `kept` is foreign metadata that stays."""
    out = {key: value for key, value in (*kept, *like.extra) if _is_sound(key, value)}
    if like.kind is Kind.FOLDER:
        out[FOLDER] = "true"
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
    if like.links > 1:
        out[LINKS] = str(like.links)
    return out


def entry_of(name: bytes, size: int, last_modified: str, etag: str, metadata: Mapping[str, str]) -> Entry:
    """The entry of an object with this metadata (keys in lower case)."""
    is_folder = metadata.get(FOLDER, "").lower() == "true"
    mode = _number(metadata.get(MODE), 0, 0o177777)
    return Entry(
        name,
        Kind.FOLDER if is_folder else Kind.FILE,
        0 if is_folder else size,
        _number(metadata.get(MODIFIED), -(2**63), 2**63 - 1),
        seconds(last_modified) * 10**9,
        None if mode is None else mode & 0o7777,
        _number(metadata.get(OWNER), 0, 2**32 - 1),
        _number(metadata.get(GROUP), 0, 2**32 - 1),
        etag=etag.strip('"'),
        extra=tuple(sorted((key, value) for key, value in metadata.items() if key not in OURS)),
    )


def _number(text: str | None, least: int, most: int) -> int | None:
    if text is None or not _NUMBER.fullmatch(text):
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
