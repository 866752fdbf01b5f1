"""A resource as it is about to be written: what the rules of its type look at and may change.

Made by `services.resources`, handed to the `prepare` rule of the type, then stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wherry.control.caller import Caller
from wherry.control.services.resource_store import Json, Resource


@dataclass(slots=True)
class Draft:
    """`properties` are checked against the fields of the type; `state` is kept from the old resource.

    `parent` is the resource (or group) that it lies in; None for a group.  `link` says what it stands for, so
    that nothing else of its type may stand for the same; `secret` is what goes to the vault instead of into
    the resource.
    """

    caller: Caller
    id: str
    parent: Resource | None
    old: Resource | None
    properties: Json
    state: Json
    link: str | None = None
    secret: str | None = field(default=None, repr=False)

    @property
    def container(self) -> Resource:
        """The resource that it lies in, for types that always lie in one."""
        if self.parent is None:
            raise LookupError(f"{self.id} lies in nothing")
        return self.parent
