r"""Names of items: raw bytes inside, text at the edges, and what a target can hold.

A path is `bytes` with `/` between its parts, relative to a root, without a leading or trailing slash; the
root itself is `b""`.  `escape` makes text that is safe in a terminal, a log line or a table: what is not
UTF-8, control characters and characters that reorder text become `\xNN` (one a byte), a backslash becomes
`\\`.  `unescape` is its exact inverse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wherry.model.errors import UsageError

SEPARATOR = b"/"
# No folder of any machine can hold it, but an object store may.
NUL = b"\0"
TEMPORARY = b".wherry-"

_RISKY = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\\\\]")
_TEMPORARY = re.compile(re.escape(TEMPORARY) + rb"[0-9a-f]{16}")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|\\)")
_BAD_ENDS = (b".", b"\\")
_NOT_XML = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")


def _escape_match(match: re.Match[str]) -> str:
    if match[0] == "\\":
        return "\\\\"
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode())


def escape(path: bytes) -> str:
    """The text of a path; reversible, one line, harmless to show."""
    try:
        return _RISKY.sub(_escape_match, path.decode())
    except UnicodeDecodeError:
        pass
    text = path.decode("utf-8", "surrogateescape")
    pieces = []
    for character in text:
        point = ord(character)
        if 0xDC80 <= point <= 0xDCFF:
            pieces.append(f"\\x{point - 0xDC00:02x}")
        else:
            pieces.append(_RISKY.sub(_escape_match, character))
    return "".join(pieces)


def escape_plain(name: bytes) -> str:
    """`escape`, quicker for what has nothing to escape in it."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return escape(name)
    return text if text.isprintable() and "\\" not in text else escape(name)


def escape_names(found: list[bytes]) -> list[bytes]:
    """`escape` of many names without a slash: at once where none of them has anything to escape."""
    try:
        # Between them a slash, lest halves of two characters make a whole one.
        text = SEPARATOR.join(found).decode()
    except UnicodeDecodeError:
        return [escape_plain(name).encode() for name in found]
    if text.isprintable() and "\\" not in text:
        return found
    return [escape_plain(name).encode() for name in found]


def unescape(text: str) -> bytes:
    """The path of a text made by `escape`."""

    def raw(match: re.Match[bytes]) -> bytes:
        return bytes([int(match[1], 16)]) if match[1] else b"\\"

    return _ESCAPE.sub(raw, text.encode())


def is_temporary(name: bytes) -> bool:
    """Whether a folder store of ours writes under names like this one, before it renames."""
    return name.startswith(TEMPORARY) and _TEMPORARY.fullmatch(name) is not None


def join(folder: bytes, name: bytes) -> bytes:
    """The path of `name` in `folder`."""
    return folder + SEPARATOR + name if folder else name


def parent(path: bytes) -> bytes:
    """The folder that holds `path`; the root for a name at the top."""
    return path.rpartition(SEPARATOR)[0]


def basename(path: bytes) -> bytes:
    """The last part of `path`."""
    return path.rpartition(SEPARATOR)[2]


def parts(path: bytes) -> tuple[bytes, ...]:
    """The names along `path`.  Tuples of parts compare in the order of the walk: a folder, then what is in it."""
    return tuple(path.split(SEPARATOR)) if path else ()


def depth(path: bytes) -> int:
    """How many names `path` has; 0 for the root."""
    return path.count(SEPARATOR) + 1 if path else 0


def clean_subpath(text: str) -> bytes:
    """A subpath that a person gave, as a path; refuses whatever could lead out of its root."""
    try:
        # What is not UTF-8 on a command line comes as surrogates.
        path = text.strip("/").encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError("A subpath is not allowed: it has characters that are none.") from None
    if not path:
        return b""
    if b"\0" in path or b"\\" in path or any(part in (b"", b".", b"..") for part in path.split(b"/")):
        raise UsageError(f"Subpath '{escape(path)}' is not allowed: give names joined by single slashes.")
    return path


@dataclass(frozen=True, slots=True)
class NameRules:
    """What a store can hold as a path; lengths in `unit`, zero for no limit."""

    unit: str = "bytes"
    part_length: int = 255
    path_length: int = 0
    levels: int = 0
    utf8: bool = False
    xml: bool = False
    trailing_dot: bool = True
    reserved: bytes = b""

    @property
    def is_simple(self) -> bool:
        """Whether whatever a folder of this machine can hold can be held here, too."""
        return (
            self.unit == "bytes"
            and self.part_length >= 255
            and self.reserved in (b"", NUL)
            and self == NameRules(part_length=self.part_length, reserved=self.reserved)
        )

    def problem(self, path: bytes) -> str | None:
        """The item code of why `path` cannot be held, or None when it can."""
        # Most paths are of plain letters, and this is asked for each: no character is looked at in Python.
        if path.isascii():
            size, strange = len(path), self.xml and self.utf8 and not path.decode().isprintable()
        else:
            size, strange = self._beyond_ascii(path)
        if strange or path.translate(None, self.reserved) != path:
            return "AZSM2022"
        if self.path_length and size > self.path_length:
            return "AZSM2024"
        if self.levels and path.count(SEPARATOR) >= self.levels:
            return "AZSM2025"
        if not self.trailing_dot and (path[-1:] in _BAD_ENDS or b"./" in path or b"\\/" in path):
            return "AZSM2022"
        if 0 < self.part_length < len(path) and max(map(len, path.split(SEPARATOR))) > self.part_length:
            return "AZSM2023"
        return None

    def _beyond_ascii(self, path: bytes) -> tuple[int, bool]:
        """The length of a path, and whether it has what cannot be held."""
        if not self.utf8:
            return len(path), False
        try:
            text = path.decode()
        except UnicodeDecodeError:
            return len(path), True
        size = len(text.encode("utf-16-le")) // 2 if self.unit == "utf16" else len(path)
        return size, bool(self.xml and _NOT_XML.search(text))
