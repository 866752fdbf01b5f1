"""Resource groups: what top-level resources lie in."""

from __future__ import annotations

from wherry.control.services.types.schema import ResourceType
from wherry.model import ids

PROVIDER = "Microsoft.Resources"
API_VERSIONS = (
    "2025-04-01",
    "2024-11-01",
    "2022-12-01",
    "2022-09-01",
    "2021-04-01",
    "2020-01-01",
    "2016-02-01",
)

GROUP = ResourceType(
    # As roles name it; ids of groups have no provider.
    f"{PROVIDER}/subscriptions",
    ("resourceGroups",),
    shown_as=f"{PROVIDER}/resourceGroups",
    name=ids.GROUP_NAME,
    tracked=True,
)

TYPES = (GROUP,)
