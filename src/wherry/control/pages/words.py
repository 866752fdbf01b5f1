"""How the pages say things: times, scopes, roles, sizes of lists.  Pure; the filters of the templates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from wherry.model import names

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))
_KINDS = {
    "containers": "container",
    "storageaccounts": "storage account",
    "endpoints": "endpoint",
    "storagemovers": "storage mover",
    "vaults": "vault",
    "resourcegroups": "resource group",
    "subscriptions": "subscription",
}


def seconds_of(told: str | float) -> float:
    """Unix seconds of a time as the API writes it."""
    return told if isinstance(told, float | int) else datetime.fromisoformat(told).timestamp()


def moment(told: str | float) -> str:
    """A point in time for people: `23 Nov 2026, 14:05 UTC`."""
    at = datetime.fromtimestamp(seconds_of(told), UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def machine(told: str | float) -> str:
    """The same for a `datetime` attribute."""
    return f"{datetime.fromtimestamp(seconds_of(told), UTC):%Y-%m-%dT%H:%M:%SZ}"


def distance(told: str | float, now: float) -> str:
    """How far a time is from now: `in 12 minutes`, `3 hours ago`, `just now`."""
    away = seconds_of(told) - now
    for size, unit in _UNITS:
        count = int(abs(away) // size)
        if count:
            span = f"{count} {unit}{'s' if count > 1 else ''}"
            return f"in {span}" if away > 0 else f"{span} ago"
    return "in less than a minute" if away > 0 else "just now"


def place(scope: str) -> str:
    """A scope in a few words: `container photos of archive`."""
    parts = scope.strip("/").split("/")
    if len(parts) < 2:
        return "everything"
    kind = _KINDS.get(parts[-2].lower(), parts[-2])
    if kind == "container":
        return f"container {parts[-1]} of {parts[-5]}" if len(parts) > 4 else f"container {parts[-1]}"
    inside = f" of {parts[-3]}" if kind == "endpoint" else ""
    return f"{kind} {parts[-1]}{inside}"


def last(resource_id: str) -> str:
    """The name at the end of an id."""
    return resource_id.rstrip("/").rpartition("/")[2]


def path(raw: bytes) -> str:
    """A path below an endpoint."""
    return names.escape(raw)


FILTERS: dict[str, Callable[..., Any]] = {
    "moment": moment, "machine": machine, "distance": distance, "place": place, "last": last,
    "path": path,
}  # fmt: skip
