"""Versions of the agent's program: three numbers, compared as numbers."""

from __future__ import annotations

import re
from typing import NamedTuple

from wherry.model.errors import UsageError

_VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", re.ASCII)


class Version(NamedTuple):
    """`major.minor.patch`; a later one is greater."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """The version that `text` names; raises `UsageError` for anything but three plain numbers."""
        found = _VERSION.fullmatch(text)
        if found is None:
            raise UsageError(f"'{text[:40]}' is no version: three numbers are expected, such as 1.4.0.")
        return cls(*map(int, found.groups()))

    def __str__(self) -> str:
        return ".".join(map(str, self))
