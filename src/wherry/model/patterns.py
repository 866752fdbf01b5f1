r"""One pattern of a filter, as in a `.gitignore`, made into regular expressions on raw bytes.

`*` and `?` stand for bytes other than `/`, `**` between slashes for any number of folders, `[a-z]`, `[!a-z]` and
`[[:digit:]]` for one byte of a class, `\` takes the meaning from what follows.  A pattern without a slash, or with
none but the last, is about names at any depth; any other is about the path from the root, a leading `/` or not.  A
slash at its end restricts it to folders, a `!` before it turns it round.  Unlike in a file, `#` and blanks at the end
are what they are.

No pattern takes more than quadratic time: a part between two stars is taken where it first fits (`(?>…)`), which is
right because each of its elements has one byte.  Called by `filters`, and by `options` to refuse what cannot be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOT_SLASH = b"[^/]"
_SLASH = ord("/")
_CLASSES: dict[bytes, frozenset[int]] = {
    name: frozenset(byte for byte in range(128) if test(chr(byte)))
    for name, test in (
        (b"alpha", str.isalpha),
        (b"digit", str.isdigit),
        (b"alnum", str.isalnum),
        (b"upper", str.isupper),
        (b"lower", str.islower),
        (b"space", " \t\n\r\f\v".__contains__),
        (b"blank", " \t".__contains__),
        (b"cntrl", lambda c: c < " " or c == "\x7f"),
        (b"print", lambda c: " " <= c < "\x7f"),
        (b"graph", lambda c: " " < c < "\x7f"),
        (b"punct", lambda c: " " < c < "\x7f" and not c.isalnum()),
        (b"xdigit", "0123456789abcdefABCDEF".__contains__),
    )
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that was read.

    `floating`: `regex` is about the name, else about the whole path.  `below` matches each folder in which
    something could match, or that matches itself, with all folders under it; None when that can be any folder.
    """

    negated: bool
    folders_only: bool
    floating: bool
    regex: bytes
    below: bytes | None


def read(text: str, *, ignore_case: bool = False) -> Pattern:
    """The pattern of a text.  `ValueError` tells why it is none."""
    raw = text.encode("utf-8", "surrogateescape")
    negated, raw = raw[:1] == b"!", raw.removeprefix(b"!")
    folders_only, raw = raw[-1:] == b"/", raw.removesuffix(b"/")
    floating = b"/" not in raw
    segments = _Reader(raw.removeprefix(b"/"), ignore_case, floating).segments()
    if not all(segments):
        raise ValueError(f"pattern '{text}' names nothing: give names, with single slashes between them")
    if floating:
        return Pattern(negated, folders_only, True, segments[0], None)
    segments = [
        one for one, before in zip(segments, [b"", *segments], strict=False) if one != b"**" or before != one
    ]
    return Pattern(negated, folders_only, False, _whole(segments), _below(segments))


def _whole(segments: list[bytes]) -> bytes:
    *runs, last = _runs(segments)
    if not runs:
        return b"/".join(last)
    # The first part is where the path begins, the last where it ends, those between where they first fit.
    out = b"".join(one + b"/" for one in runs[0])
    for run in runs[1:]:
        out += b"(?>(?:[^/]+/)*?" + b"".join(one + b"/" for one in run) + b")"
    return out + (b"(?:[^/]+/)*" + b"/".join(last) if last else b".+")


def _runs(segments: list[bytes]) -> list[list[bytes]]:
    runs: list[list[bytes]] = [[]]
    for segment in segments:
        if segment == b"**":
            runs.append([])
        else:
            runs[-1].append(segment)
    return runs


def _below(segments: list[bytes]) -> bytes | None:
    if segments[0] == b"**":
        return None
    out = b"(?:/.*)?"
    for index in range(len(segments) - 1, -1, -1):
        if segments[index] == b"**":
            out = b"(?:/.*)?"
        elif index < len(segments) - 1 and segments[index + 1] != b"**":
            out = segments[index] + b"(?:/" + out + b")?"
        else:
            out = segments[index] + out
    return out


class _Reader:
    """Reads a pattern byte by byte."""

    def __init__(self, raw: bytes, ignore_case: bool, floating: bool) -> None:
        self._raw = raw
        self._floating = floating
        self._at = 0
        self._ignore_case = ignore_case
        self._tell = raw.decode("utf-8", "replace")
        if b"\0" in raw:
            raise ValueError("a pattern cannot hold a zero byte, as no name can")

    def segments(self) -> list[bytes]:
        """A regular expression for each part between slashes; `**` for any number of parts."""
        segments: list[bytes] = []
        # The parts between the stars of one segment.
        pieces: list[list[bytes]] = [[]]
        begun = 0
        while (byte := self._next()) is not None:
            if byte == b"/" or (byte == b"\\" and self._raw[self._at : self._at + 1] == b"/"):
                self._at += byte == b"\\"
                segments.append(self._segment(pieces, self._raw[begun : self._at - 1]))
                pieces, begun = [[]], self._at
            elif byte == b"*":
                pieces.append([])
            else:
                pieces[-1].append(self._one(byte))
        return [*segments, self._segment(pieces, self._raw[begun:])]

    def _segment(self, pieces: list[list[bytes]], raw: bytes) -> bytes:
        if len(raw) > 1 and not raw.strip(b"*") and not self._floating:
            return b"**"
        first, *others = (b"".join(one) for one in pieces)
        if not others:
            return first
        *middle, last = others
        return first + b"".join(b"(?>[^/]*?" + one + b")" for one in middle if one) + b"[^/]*" + last

    def _next(self) -> bytes | None:
        byte = self._raw[self._at : self._at + 1]
        self._at += 1
        return byte or None

    def _one(self, byte: bytes) -> bytes:
        if byte == b"?":
            return _NOT_SLASH
        if byte == b"[":
            return self._class()
        if byte == b"\\":
            byte = self._needed("a backslash at its end")
        return self._literal(byte)

    def _literal(self, byte: bytes) -> bytes:
        if byte[0] < 0x80 or not self._ignore_case:
            return re.escape(byte)
        length = 4 if byte[0] >= 0xF0 else 3 if byte[0] >= 0xE0 else 2
        whole = self._raw[self._at - 1 : self._at - 1 + length]
        try:
            character = whole.decode()
        except UnicodeDecodeError:
            return re.escape(byte)
        self._at += length - 1
        variants = {one for one in (character, character.lower(), character.upper()) if len(one) == 1}
        return b"(?:" + b"|".join(re.escape(one.encode()) for one in sorted(variants)) + b")"

    def _class(self) -> bytes:
        byte = self._needed("a [ without its ]")
        negated = byte in (b"!", b"^")
        if negated:
            byte = self._needed("a [ without its ]")
        found: set[int] = set()
        before: int | None = None
        while True:
            before = self._member(byte, before, found)
            byte = self._needed("a [ without its ]")
            if byte == b"]":
                break
        if self._ignore_case:
            found |= {ord(chr(one).swapcase()) for one in found if one < 0x80}
        members = (set(range(256)) - found if negated else found) - {_SLASH}
        if not members:
            raise ValueError(f"pattern '{self._tell}' has a class that nothing can match")
        return b"[" + b"".join(b"\\x%02x" % one for one in sorted(members)) + b"]"

    def _member(self, byte: bytes, before: int | None, found: set[int]) -> int | None:
        """Take in one member of a class; what a range could begin with."""
        following = self._raw[self._at : self._at + 1]
        if byte == b"-" and before is not None and following != b"]":
            end = self._needed("a [ without its ]")
            if end == b"\\":
                end = self._needed("a [ without its ]")
            found.update(range(before, end[0] + 1))
            return None
        if byte == b"[" and following == b":":
            name, colon, _ = self._raw[self._at + 1 :].partition(b"]")
            if colon and name.endswith(b":"):
                if name[:-1] not in _CLASSES:
                    known = b", ".join(_CLASSES).decode()
                    raise ValueError(
                        f"pattern '{self._tell}' has an unknown class of bytes; known are {known}"
                    )
                self._at += len(name) + 2
                found.update(_CLASSES[name[:-1]])
                return None
        if byte == b"\\":
            byte = self._needed("a [ without its ]")
        found.add(byte[0])
        return byte[0]

    def _needed(self, trouble: str) -> bytes:
        byte = self._next()
        if byte is None:
            raise ValueError(f"pattern '{self._tell}' has {trouble}")
        return byte
