"""What each api-version knows: fields of a newer one are neither shown to an older one nor taken from it.

`ResourceType.since` names them, with a dot for a field of an object.  What a client cannot see it cannot have meant to
take away: a PUT leaves those as they are.  The key `wherry` is of no version.  Called by `services.resources`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wherry.control.services.types.schema import Json, ResourceType

_DATE = len("2025-12-01")


def hidden(kind: ResourceType, version: str) -> tuple[str, ...]:
    """The fields of a type that a version does not know; none for '', which stands for the newest."""
    return newer(kind.since, version)


def newer(since: Mapping[str, str], version: str) -> tuple[str, ...]:
    """Those of some fields that came after a version."""
    # A preview comes before what it is a preview of, and no field came in between.
    return tuple(name for name, first in since.items() if version and version[:_DATE] < first)


def without(told: Any, names: Iterable[str]) -> Any:
    """A copy of properties without some fields; what is no object is left as it is."""
    if not isinstance(told, dict):
        return told
    left: Json = dict(told)
    for name in names:
        head, _, rest = name.partition(".")
        if rest and head in left:
            left[head] = without(left[head], (rest,))
        elif not rest:
            left.pop(head, None)
    return left


def carried(told: Any, names: Iterable[str], old: Mapping[str, Any]) -> Any:
    """A copy of what a PUT tells, with the fields that it cannot know as they were."""
    kept = without(told, names)
    if not isinstance(kept, dict):
        return kept
    for name in names:
        head, _, rest = name.partition(".")
        if rest and isinstance(kept.get(head), dict) and isinstance(old.get(head), dict):
            kept[head] = carried(kept[head], (rest,), old[head])
        elif not rest and head in old:
            kept[head] = old[head]
    return kept
