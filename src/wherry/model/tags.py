"""Tags of resources: words that people sort by, after the rules of Azure Resource Manager.

Names are told apart without case.  Called by the control plane for what it is sent, and by the agent's registration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.model.errors import UsageError

MOST = 50
LONGEST_NAME = 512
LONGEST_VALUE = 256
FORBIDDEN = "<>%&\\?/"
"""What no name of a tag may hold."""


def parse(words: str) -> dict[str, str]:
    """The tags in `name=value, name=value`; raises `UsageError`."""
    return of_pairs([word for word in words.split(",") if word.strip()])


def of_pairs(pairs: list[str]) -> dict[str, str]:
    """The tags of words such as `name=value`; raises `UsageError`."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = (word.strip() for word in pair.partition("="))
        if not equals or not name:
            raise UsageError(f"'{pair.strip()}' is no tag: NAME=VALUE is expected.")
        if name.lower() in {known.lower() for known in found}:
            raise UsageError(f"The tag '{name}' is there twice.")
        found[name] = value
    check(found)
    return found


def check(told: Mapping[str, Any]) -> None:
    """Raises `UsageError` that says which tag cannot be, and why."""
    if len(told) > MOST:
        raise UsageError(f"A resource has at most {MOST} tags.")
    if len({name.lower() for name in told}) < len(told):
        raise UsageError("Names of tags are told apart without case: one is there twice.")
    for name, value in told.items():
        if not 0 < len(name) <= LONGEST_NAME or any(
            one in FORBIDDEN or not one.isprintable() for one in name
        ):
            raise UsageError(
                f"'{name[:64]}' is no name of a tag: it has up to {LONGEST_NAME} characters, none of {FORBIDDEN}"
            )
        if not isinstance(value, str) or len(value) > LONGEST_VALUE:
            raise UsageError(f"The tag '{name[:64]}' has no text of at most {LONGEST_VALUE} characters.")
