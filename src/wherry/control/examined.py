"""What an examination of a control plane says: a check, whether it passed, what was found, and what to do.

Pure code, shared by the checks and by what calls them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check came out; `WARN` is for what will be trouble, `FAIL` for what is."""

    PASS = "PASS"  # noqa: S105 - no password
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check; `remedy` is what to do, empty when nothing is."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


def passed(check: str, found: str) -> Finding:
    """A check that found everything as it should be."""
    return Finding(check, Verdict.PASS, found)


def warned(check: str, found: str, remedy: str) -> Finding:
    """A check that found what should be looked at."""
    return Finding(check, Verdict.WARN, found, remedy)


def failed(check: str, found: str, remedy: str) -> Finding:
    """A check that found trouble."""
    return Finding(check, Verdict.FAIL, found, remedy)
