"""The `$filter` expressions that clients of a directory send: `eq`, `startswith` and `any`, joined by `and`.

Anything else is a 400.  Comparison is without case, as Graph's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from wherry.model.errors import ApiError

Json = dict[str, Any]
Test = Callable[[Json], bool]

_TEXT = r"'(?P<text>(?:[^']|'')*)'"
_CLAUSE = re.compile(
    rf"\s*(?:startswith\((?P<begins>\w+),\s*{_TEXT}\)"
    rf"|(?P<list>\w+)/any\((?P<each>\w+):(?P=each) eq {_TEXT.replace('text', 'element')}\)"
    rf"|(?P<name>\w+) eq (?:{_TEXT.replace('text', 'value')}|(?P<truth>true|false)))\s*(?:\band\b|$)",
    re.IGNORECASE,
)
_LONGEST = 2048


def parse(told: str) -> Test:
    """Whether an object passes, as a function."""
    tests: list[Test] = []
    at = 0
    while at < len(told):
        match = _CLAUSE.match(told, at)
        if match is None or len(told) > _LONGEST:
            raise ApiError(400, "Request_UnsupportedQuery", "The filter is not supported here.")
        tests.append(_test(match))
        at = match.end()
    return lambda one: all(test(one) for test in tests)


def _test(match: re.Match[str]) -> Test:
    if match["begins"]:
        start = _plain(match["text"])
        return lambda one: _text(one.get(match["begins"])).startswith(start)
    if match["list"]:
        element = _plain(match["element"])
        return lambda one: element in [_text(value) for value in one.get(match["list"]) or []]
    if match["truth"]:
        truth = match["truth"].lower() == "true"
        return lambda one: one.get(match["name"]) is truth
    wanted = _plain(match["value"])
    return lambda one: _text(one.get(match["name"])) == wanted


def _plain(quoted: str) -> str:
    return quoted.replace("''", "'").lower()


def _text(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""
