"""Sizes, rates and moments as people write them, and back.

Pure and strict: what cannot be read raises `ValueError` with what is expected.  Called by `options`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

A_SIZE = "a number of bytes, or with a unit as 500K, 20MiB, 1.5G, 5TB (K and KiB are 1024 bytes, KB is 1000)"
A_RATE = "bytes a second as 50M or 20MiB, or bits a second as 400Mbps, and at least 1 byte"
A_MOMENT = (
    "a date or time as 2026-05-31 or 2026-05-31T18:00:00+02:00 (UTC without a zone), or an age as 7d or 36h"
)

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(i?B)?", re.IGNORECASE)
_BITS = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(?:bps|bit/s)", re.IGNORECASE)
_AGE = re.compile(r"(?:\d+[smhdw])+", re.IGNORECASE)
_AGE_PART = re.compile(r"(\d+)([smhdw])", re.IGNORECASE)
_FRACTION = re.compile(r"(?<=:\d\d)[.,](\d{1,9})")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_BILLION = 10**9
_START = datetime(1970, 1, 1, tzinfo=UTC)


def size(text: str) -> int:
    """Bytes."""
    if not (found := _SIZE.fullmatch(text.strip())):
        raise ValueError(f"{A_SIZE} is expected")
    number, unit, suffix = found[1], found[2].upper(), (found[3] or "").upper()
    step = 1000 if suffix == "B" else 1024
    return _times(number, step ** _POWER[unit])


def rate(text: str) -> int:
    """Bytes a second."""
    if found := _BITS.fullmatch(text.strip()):
        value = _times(found[1], 1000 ** _POWER[found[2].upper()]) // 8
    else:
        try:
            value = size(text.strip().removesuffix("/s"))
        except ValueError:
            value = 0
    if value < 1:
        raise ValueError(f"{A_RATE} is expected")
    return value


def age(text: str) -> int | None:
    """The nanoseconds of an age as `7d` or `1d12h`, None when it is none."""
    if not _AGE.fullmatch(text.strip()):
        return None
    parts = _AGE_PART.findall(text)
    return sum(int(number) * _SECONDS[unit.lower()] for number, unit in parts) * _BILLION


def moment(text: str) -> int:
    """Nanoseconds since 1970 of a date or time in ISO 8601."""
    fraction = 0
    if found := _FRACTION.search(text):
        fraction = int(found[1].ljust(9, "0"))
        text = text[: found.start()] + text[found.end() :]
    try:
        read = datetime.fromisoformat(text.strip())
        passed = read.replace(tzinfo=read.tzinfo or UTC) - _START
    except (ValueError, OverflowError):
        raise ValueError(f"{A_MOMENT} is expected") from None
    return (passed.days * 86400 + passed.seconds) * _BILLION + fraction


def iso(moment: int) -> str:
    """The inverse of `moment`, in UTC."""
    seconds, fraction = divmod(moment, _BILLION)
    try:
        text = (_START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    except OverflowError:
        raise ValueError(f"{A_MOMENT} is expected") from None
    # Years before 1000 come without their zeros from some systems.
    text = text.rjust(19, "0")
    return f"{text}.{fraction:09}".rstrip("0") + "Z" if fraction else f"{text}Z"


def _times(number: str, unit: int) -> int:
    whole, _, rest = number.partition(".")
    return int(whole) * unit + (int(rest) * unit // 10 ** len(rest) if rest else 0)
