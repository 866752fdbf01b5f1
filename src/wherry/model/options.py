"""What a job may be told: one table for `wherry copy`, `wherry job create` and `properties.wherry` of a job.

A run freezes its options at the start (`at`).  `from_json` is the only way in from outside: it names what is
wrong.  `TABLE` is what the command line and the reference page are made from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from wherry.model import patterns, quantities
from wherry.model.errors import UsageError


class CopyMode(StrEnum):
    """What becomes of items that only the target has."""

    ADDITIVE = "Additive"
    MIRROR = "Mirror"


class Compare(StrEnum):
    """When an item of the target counts as equal: by size and time, by size alone, or by reading both."""

    TIME = "time"
    SIZE = "size"
    CHECKSUM = "checksum"


class Links(StrEnum):
    """What becomes of symbolic links: links again, nothing, or what they lead to."""

    PRESERVE = "preserve"
    SKIP = "skip"
    FOLLOW = "follow"


class Verify(StrEnum):
    """What proves a copied file; each but `NONE` includes that the source stayed the same meanwhile.

    `CHECKSUM`: the target checks a checksum of each request; `READBACK`: what the target holds is read and
    compared; `SAMPLE`: that, for a share of the files.
    """

    NONE = "none"
    SOURCE = "source"
    CHECKSUM = "checksum"
    READBACK = "readback"
    SAMPLE = "sample"


class Preserve(StrEnum):
    """Metadata that is kept."""

    MODE = "mode"
    OWNER = "owner"
    TIMES = "times"
    XATTRS = "xattrs"
    ACLS = "acls"


DELETE_FLOOR = 1000
DELETE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The options of a job, frozen when a run starts.

    `max_delete` is the number of items that Mirror may delete; None means the larger of `DELETE_FLOOR` and
    `DELETE_SHARE` of the scanned items.  `include` and `exclude` are patterns as `filters` reads them.
    `newer_than` and `older_than` are ns since 1970, or an age as `7d` until `at` makes a moment of it.  `sample`
    is the percentage of `Verify.SAMPLE`, 0 with any other.  `bandwidth` is in bytes a second.
    """

    mode: CopyMode = CopyMode.ADDITIVE
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore_case: bool = False
    min_size: int | None = None
    max_size: int | None = None
    newer_than: int | str | None = None
    older_than: int | str | None = None
    compare: Compare = Compare.TIME
    verify: Verify = Verify.SOURCE
    sample: int = 0
    links: Links = Links.PRESERVE
    preserve: tuple[Preserve, ...] = tuple(Preserve)
    bandwidth: int | None = None
    requests_per_second: int | None = None
    max_delete: int | None = None
    allow_empty_source: bool = False
    accept_new_source: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        for contradicts, told in _CONTRADICTIONS:
            if contradicts(self):
                raise UsageError(told)

    def allowed_deletes(self, scanned: int) -> int:
        """How many items a run that scanned so many may delete."""
        if self.max_delete is not None:
            return self.max_delete
        return max(DELETE_FLOOR, int(scanned * DELETE_SHARE))

    def at(self, now: int) -> JobOptions:
        """The same with ages made moments, for a run that starts `now`, ns since 1970."""
        if not (isinstance(self.newer_than, str) or isinstance(self.older_than, str)):
            return self
        return replace(
            self, newer_than=_before(now, self.newer_than), older_than=_before(now, self.older_than)
        )

    def to_json(self) -> dict[str, Any]:
        """The options in the words of the API; defaults left out."""
        out: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default and one.name != "sample":
                out[word_of(one.name)] = _plain(one.name, value)
        if self.verify is Verify.SAMPLE:
            out["verify"] = f"sample={self.sample}%"
        return out

    @classmethod
    def from_json(cls, data: Any) -> JobOptions:
        """Options from the words of the API.  Raises `UsageError` that names the option and what it takes."""
        if not isinstance(data, Mapping):
            raise UsageError("Options must be an object of names and values.")
        known = {word_of(name): name for name in TABLE}
        values: dict[str, Any] = {}
        for word, value in data.items():
            if word not in known:
                raise UsageError(f"Unknown option '{word}'; known are {', '.join(sorted(known))}.")
            name = known[word]
            try:
                values |= _verify(value) if name == "verify" else {name: _read(name, value)}
            except ValueError as wrong:
                raise UsageError(f"Option '{word}': {wrong}.") from None
        return cls(**values)


class Takes(StrEnum):
    """What kinds of values there are."""

    FLAG = "`true`, `false`"
    WORD = "one of its words"
    WORDS = "a list of `mode`, `owner`, `times`, `xattrs`, `acls`"
    VERIFY = "`none`, `source`, `checksum`, `readback`, `sample=N%`"
    PATTERNS = "a list of patterns"
    SIZE = "a size, as `500K` or `2GiB`"
    RATE = "bytes a second, as `50M`, or `400Mbps`"
    MOMENT = "a date or time in ISO 8601, or an age as `7d`, `36h`"
    COUNT = "a number, 0 or more"
    POSITIVE = "a number, 1 or more"


class Told(NamedTuple):
    """What an option takes, and what it is for."""

    takes: Takes
    meaning: str


TABLE: dict[str, Told] = {
    "mode": Told(Takes.WORD, "Additive keeps what only the target has, Mirror deletes it."),
    "include": Told(
        Takes.PATTERNS, "Copy only files that match this pattern, as in .gitignore; may be repeated."
    ),
    "exclude": Told(
        Takes.PATTERNS, "Leave out what matches this pattern, as in .gitignore, and all below; may be repeated."
    ),
    "ignore_case": Told(Takes.FLAG, "Patterns do not tell small letters from capitals."),
    "min_size": Told(Takes.SIZE, "Leave out smaller files."),
    "max_size": Told(Takes.SIZE, "Leave out larger files."),
    "newer_than": Told(Takes.MOMENT, "Leave out files that were last modified before; an age is before now."),
    "older_than": Told(Takes.MOMENT, "Leave out files that were modified since; an age is before now."),
    "compare": Told(Takes.WORD, "When a file of the target counts as equal: by time and size, size, or content."),
    "verify": Told(
        Takes.VERIFY,
        "What proves a copied file: nothing, the source unchanged, checksums at the target, or reading back.",
    ),
    "links": Told(Takes.WORD, "What becomes of symbolic links; follow copies what they lead to in the source."),
    "preserve": Told(Takes.WORDS, "The metadata that is kept; by default all that the target can hold."),
    "bandwidth": Told(Takes.RATE, "Send no more than this in a second, over all workers."),
    "requests_per_second": Told(Takes.POSITIVE, "Ask a store no more often than this, over all workers."),
    "max_delete": Told(
        Takes.COUNT, "How many items Mirror may delete; by default the larger of 1000 and a fifth of the source."
    ),
    "allow_empty_source": Told(Takes.FLAG, "Let Mirror empty the target when the source is empty."),
    "accept_new_source": Told(Takes.FLAG, "Go on although the source is not the file system of earlier runs."),
    "dry_run": Told(Takes.FLAG, "Change nothing; the log tells what would be done."),
}  # fmt: skip

WORDS: dict[str, type[Enum]] = {"mode": CopyMode, "compare": Compare, "links": Links}
_ALIASES = {("compare", "mtime"): "time"}


def word_of(name: str) -> str:
    """The name of an option in the API."""
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def _plain(name: str, value: Any) -> Any:
    if TABLE[name].takes is Takes.MOMENT and isinstance(value, int):
        return quantities.iso(value)
    if isinstance(value, Enum):
        return value.value
    return [_plain(name, one) for one in value] if isinstance(value, tuple) else value


def _read(name: str, value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    takes = TABLE[name].takes
    if takes is Takes.FLAG:
        return _is(bool, value, "true or false is expected")
    if takes is Takes.WORD:
        return _word(WORDS[name], _ALIASES.get((name, value), value) if isinstance(value, str) else value)
    if takes is Takes.WORDS:
        return _preserve(value)
    if takes is Takes.PATTERNS:
        return _patterns(value)
    if value is None:
        return None
    if takes is Takes.SIZE:
        return quantities.size(value) if isinstance(value, str) else _count(value, 0, quantities.A_SIZE)
    if takes is Takes.RATE:
        return quantities.rate(value) if isinstance(value, str) else _count(value, 1, quantities.A_RATE)
    if takes is Takes.MOMENT:
        return _moment(value)
    least = 1 if takes is Takes.POSITIVE else 0
    return _count(value, least, f"a number, {least} or more,")


def _is(kind: type | tuple[type, ...], value: Any, expected: str) -> Any:
    if isinstance(value, kind):
        return value
    raise ValueError(expected)


def _count(value: Any, least: int, expected: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{expected} is expected")
    return value


def _word(kind: type[Enum], value: Any) -> Enum:
    for member in kind:
        if isinstance(value, str) and str(member.value).lower() == value.lower():
            return member
    raise ValueError(f"one of {', '.join(str(one.value) for one in kind)} is expected")


def _preserve(value: Any) -> tuple[Enum, ...]:
    told = _is((list, tuple), value, f"a list of {', '.join(Preserve)} is expected")
    kept = {_word(Preserve, one) for one in told}
    return tuple(one for one in Preserve if one in kept)


def _patterns(value: Any) -> tuple[str, ...]:
    told = _is((list, tuple), value, "a list of patterns is expected")
    for one in told:
        patterns.read(_is(str, one, "a list of patterns is expected"))
    return tuple(told)


def _moment(value: Any) -> int | str:
    text: str = _is(str, value, f"{quantities.A_MOMENT} is expected")
    if quantities.age(text) is not None:
        return text.strip().lower()
    return quantities.moment(text)


def _verify(value: Any) -> dict[str, Any]:
    head, equals, share = value.partition("=") if isinstance(value, str) else (value, "", "")
    try:
        word = _word(Verify, head)
    except ValueError:
        word = None
    if word is Verify.SAMPLE and equals:
        digits = share.strip().removesuffix("%")
        if digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 100:
            return {"verify": word, "sample": int(digits)}
    elif word is not None and word is not Verify.SAMPLE and not equals:
        return {"verify": word, "sample": 0}
    raise ValueError("one of none, source, checksum, readback, sample=N% (1 to 100) is expected")


def _before(now: int, moment: int | str | None) -> int | None:
    passed = quantities.age(moment) if isinstance(moment, str) else None
    return moment if not isinstance(moment, str) else now - (passed or 0)


def _crossed(low: int | str | None, high: int | str | None, gap: int = 0) -> bool:
    if isinstance(low, str) and isinstance(high, str):
        low, high = _before(0, low), _before(0, high)
    return isinstance(low, int) and isinstance(high, int) and low + gap > high


_CONTRADICTIONS: tuple[tuple[Callable[[JobOptions], bool], str], ...] = (
    (
        lambda o: o.compare is Compare.TIME and Preserve.TIMES not in o.preserve,
        "Without times, files would be sent again at each run: add times to preserve, or compare by size or checksum.",
    ),
    (
        lambda o: Preserve.ACLS in o.preserve and Preserve.MODE not in o.preserve,
        "An ACL sets the mode as well: add mode to preserve, or leave acls out.",
    ),
    (
        lambda o: (o.verify is Verify.SAMPLE) is not (1 <= o.sample <= 100),
        "Verifying a sample takes a share of 1 to 100 percent, and nothing else takes one: sample=N%.",
    ),
    (
        lambda o: bool(o.include) and all(one.startswith("!") for one in o.include),
        "Only patterns with a ! include nothing: add what they are taken from, as '*'.",
    ),
    (
        lambda o: _crossed(o.min_size, o.max_size),
        "No file is as large as minSize and as small as maxSize: exchange or correct them.",
    ),
    (
        lambda o: _crossed(o.newer_than, o.older_than, 1),
        "No file is newer than newerThan and older than olderThan: exchange or correct them.",
    ),
)
