"""What a job may be told: one table for `wherry copy`, `wherry job create` and `properties.wherry` of a job.

A run freezes its options at the start.  `from_json` is the only way in from outside: it names what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum, StrEnum
from typing import Any

from wherry.model.errors import UsageError


class CopyMode(StrEnum):
    """What becomes of items that only the target has."""

    ADDITIVE = "Additive"
    MIRROR = "Mirror"


class Compare(StrEnum):
    """When an item of the target counts as equal."""

    TIME = "time"
    SIZE = "size"


class Links(StrEnum):
    """What becomes of symbolic links."""

    PRESERVE = "preserve"
    SKIP = "skip"


class Verify(StrEnum):
    """What proves a copied file: nothing more, the source unchanged, or the target read back."""

    NONE = "none"
    SOURCE = "source"
    READBACK = "readback"


DELETE_FLOOR = 1000
DELETE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The frozen options of a run.

    `max_delete` is the number of items that Mirror may delete; None means the larger of `DELETE_FLOOR` and
    `DELETE_SHARE` of the scanned items.  `include` and `exclude` are shell patterns on the path (`*` also
    crosses `/`) or, without a slash, on the name; a folder that is excluded is not entered.
    """

    mode: CopyMode = CopyMode.ADDITIVE
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    compare: Compare = Compare.TIME
    verify: Verify = Verify.SOURCE
    links: Links = Links.PRESERVE
    max_delete: int | None = None
    allow_empty_source: bool = False
    accept_new_source: bool = False
    dry_run: bool = False

    def allowed_deletes(self, scanned: int) -> int:
        """How many items a run that scanned so many may delete."""
        if self.max_delete is not None:
            return self.max_delete
        return max(DELETE_FLOOR, int(scanned * DELETE_SHARE))

    def to_json(self) -> dict[str, Any]:
        """The options in the words of the API; defaults left out."""
        out: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default:
                out[_camel(one.name)] = _plain(value)
        return out

    @classmethod
    def from_json(cls, data: Any) -> JobOptions:
        """Options from the words of the API.  Raises `UsageError` that names the option and what it takes."""
        if not isinstance(data, Mapping):
            raise UsageError("Options must be an object of names and values.")
        known = {_camel(one.name): one.name for one in fields(cls)}
        values: dict[str, Any] = {}
        for word, value in data.items():
            if word not in known:
                raise UsageError(f"Unknown option '{word}'; known are {', '.join(sorted(known))}.")
            values[known[word]] = _read(word, known[word], value)
        return cls(**values)


_ENUMS: dict[str, type[Enum]] = {"mode": CopyMode, "compare": Compare, "verify": Verify, "links": Links}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _read(word: str, name: str, value: Any) -> Any:
    if name in _ENUMS:
        for member in _ENUMS[name]:
            if isinstance(value, str) and str(member.value).lower() == value.lower():
                return member
        raise UsageError(f"Option '{word}' must be one of {', '.join(str(m.value) for m in _ENUMS[name])}.")
    if name in ("include", "exclude"):
        if isinstance(value, (list, tuple)) and all(isinstance(one, str) and one for one in value):
            return tuple(value)
        raise UsageError(f"Option '{word}' must be a list of patterns.")
    if name == "max_delete":
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise UsageError(f"Option '{word}' must be a number of items, 0 or more.")
    if not isinstance(value, bool):
        raise UsageError(f"Option '{word}' must be true or false.")
    return value
