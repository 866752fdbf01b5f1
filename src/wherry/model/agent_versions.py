"""Which versions of the agent's program are served: one table, and what an agent of another version is told.

An agent that is older than the newest known is told so and goes on working.  One that is older than the oldest that
is served gets no lease any more; those that it holds, it works off.  What is no version is let be: whoever changes
the program may call it what they like.  Called by the agent protocol at both of its ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from wherry.model.errors import CODES, UsageError
from wherry.model.versions import Version

AVAILABLE = "AZSM0005"
REQUIRED = "AZSM0006"
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Notice:
    """What an agent is told of its version: a code of the error table, the version to upgrade to, and a sentence."""

    code: str
    version: str
    message: str

    @property
    def required(self) -> bool:
        """Whether the agent gets no more work without it."""
        return self.code == REQUIRED

    def to_json(self) -> dict[str, str]:
        """As heartbeats are answered with it, and as the agent keeps it."""
        return {"code": self.code, "version": self.version, "message": self.message}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The same again; raises `KeyError` for what is none."""
        return cls(str(told["code"])[:16], str(told["version"])[:64], str(told["message"])[:_LONGEST])


@dataclass(frozen=True, slots=True)
class Served:
    """The versions of agents that a release serves."""

    oldest: Version
    newest: Version

    def knowing(self, offered: Version | None) -> Served:
        """The same, where a later version may have been offered since."""
        return self if offered is None else replace(self, newest=max(self.newest, offered))

    def notice(self, reported: str) -> Notice | None:
        """What an agent that reports this version is told; None when there is nothing to say."""
        try:
            running = Version.parse(reported)
        except UsageError:
            return None
        if running < self.oldest:
            needed = f"{self.oldest} is needed at least"
            return self._told(
                REQUIRED,
                running,
                needed if self.newest == self.oldest else f"{needed}, {self.newest} is the newest",
            )
        if running < self.newest:
            return self._told(AVAILABLE, running, f"{self.newest} is the newest")
        return None

    def _told(self, code: str, running: Version, wanted: str) -> Notice:
        row = CODES[code]
        return Notice(code, str(self.newest), f"{row.message} It runs {running}; {wanted}. {row.remedy}")


SERVED = Served(oldest=Version(0, 1, 0), newest=Version(0, 1, 0))
"""Of this release.  `newest` is the agent that comes with it."""
