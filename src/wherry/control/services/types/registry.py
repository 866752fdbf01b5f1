"""Every resource type there is, and which one an id is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wherry.control.services.types import (
    hybrid_compute,
    key_vault,
    private_links,
    resource_groups,
    storage,
    storage_mover,
)
from wherry.control.services.types.resource_groups import GROUP
from wherry.control.services.types.schema import ResourceType
from wherry.model.errors import ApiError
from wherry.model.ids import ResourceId

PROVIDERS: Mapping[str, tuple[str, ...]] = {
    storage_mover.PROVIDER: storage_mover.API_VERSIONS,
    hybrid_compute.PROVIDER: hybrid_compute.API_VERSIONS,
    storage.PROVIDER: storage.API_VERSIONS,
    key_vault.PROVIDER: key_vault.API_VERSIONS,
    resource_groups.PROVIDER: resource_groups.API_VERSIONS,
    "Microsoft.Authorization": ("2022-04-01", "2022-05-01-preview", "2018-01-01-preview", "2015-07-01"),
}
"""Providers with the api-versions that they tell clients to use."""

TYPES: Mapping[str, ResourceType] = {
    one.key: one
    for one in (
        *resource_groups.TYPES,
        *storage_mover.TYPES,
        *hybrid_compute.TYPES,
        *private_links.TYPES,
        *storage.TYPES,
        *key_vault.TYPES,
    )
}
"""Every type, by its full name in lower case."""


@dataclass(frozen=True, slots=True)
class Target:
    """A resource that a request is about, which need not exist; `version` is the request's, '' for the newest."""

    type: ResourceType
    id: ResourceId
    version: str = ""

    @property
    def parent_id(self) -> str | None:
        """The id of the resource or group that it lies in, as the request wrote it; None for a group."""
        if self.type is GROUP:
            return None
        depth = len(self.type.parent_kinds)
        provider = self.id.provider if depth else None
        return str(ResourceId(self.id.subscription, self.id.group, provider, self.id.segments[:depth]))


def target(resource_id: str) -> Target:
    """What type of resource an id names; 404 `InvalidResourceType` for a type that is not served."""
    parsed = ResourceId.parse(resource_id)
    if parsed.provider is None and parsed.group is not None:
        return Target(GROUP, parsed)
    found = TYPES.get(parsed.type)
    if found is None or parsed.group is None or not _fixed_parts(found, parsed):
        raise ApiError(404, "InvalidResourceType", f"The resource type '{parsed.type}' is not served.")
    return Target(found, parsed)


def _fixed_parts(kind: ResourceType, parsed: ResourceId) -> bool:
    for part, (_, name) in zip(kind.path, parsed.segments, strict=True):
        fixed = part.partition("=")[2]
        if fixed and fixed.lower() != name.lower():
            return False
    return True
