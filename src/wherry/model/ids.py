"""Resource ids and the rules for names in them.

Ids keep the casing of their creation and compare without case; `key` is the form to compare and to store by.
Called wherever a resource is named: API, policy, client, CLI.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wherry.model.errors import ApiError

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
AGENT_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
GROUP_NAME = re.compile(r"^[\w().-]{1,90}(?<!\.)$")
CONTAINER_NAME = re.compile(r"^(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*$")
ACCOUNT_NAME = re.compile(r"^[a-z0-9]{3,24}$")
GUID = re.compile(r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f%?#\\<>*&:]|//|(^|/)\.\.?(/|$)")


def key(resource_id: str) -> str:
    """The form of an id that is compared: lower case, no trailing slash."""
    return resource_id.rstrip("/").lower()


def check(resource_id: str) -> str:
    """`resource_id` as it is, when it is a plain absolute path; otherwise a 400."""
    if not resource_id.startswith("/") or _FORBIDDEN.search(resource_id):
        raise ApiError(400, "InvalidResourceId", "The resource id is malformed.")
    return resource_id


def contains(scope: str, resource_id: str) -> bool:
    """Whether `resource_id` is `scope` or lies below it, by whole segments and without case."""
    outer, inner = key(scope), key(resource_id)
    return not outer or inner == outer or inner.startswith(outer + "/")


@dataclass(frozen=True, slots=True)
class ResourceId:
    """A parsed id: `/subscriptions/S[/resourceGroups/G][/providers/P/type/name[/type/name]…]`."""

    subscription: str
    group: str | None
    provider: str | None
    segments: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> ResourceId:
        """The parts of an id; a 400 `InvalidResourceId` when it is none."""
        words = check(text).strip("/").split("/")
        lowered = [word.lower() for word in words]
        if len(words) < 2 or lowered[0] != "subscriptions":
            raise ApiError(400, "InvalidResourceId", f"'{text}' is not a resource id.")
        group, at = (words[3], 4) if len(words) > 3 and lowered[2] == "resourcegroups" else (None, 2)
        if at == len(words):
            return cls(words[1], group, None, ())
        rest = words[at + 2 :]
        if lowered[at] != "providers" or len(words) < at + 4 or len(rest) % 2:
            raise ApiError(400, "InvalidResourceId", f"'{text}' is not a resource id.")
        pairs = tuple((rest[i], rest[i + 1]) for i in range(0, len(rest), 2))
        return cls(words[1], group, words[at + 1], pairs)

    @property
    def name(self) -> str:
        return self.segments[-1][1] if self.segments else (self.group or self.subscription)

    @property
    def type(self) -> str:
        """The full type in lower case, as `microsoft.storagemover/storagemovers/agents`."""
        return "/".join([self.provider or "", *(kind for kind, _ in self.segments)]).lower()

    def __str__(self) -> str:
        text = f"/subscriptions/{self.subscription}"
        if self.group is not None:
            text += f"/resourceGroups/{self.group}"
        if self.provider is not None:
            text += f"/providers/{self.provider}"
        return text + "".join(f"/{kind}/{name}" for kind, name in self.segments)


def mover_id(subscription: str, group: str, mover: str) -> str:
    """The id of a mover."""
    place = f"/subscriptions/{subscription}/resourceGroups/{group}"
    return f"{place}/providers/Microsoft.StorageMover/storageMovers/{mover}"
