"""The broker port: what a driver is asked for, whatever back end it is for.

A driver turns what a run may into something that the back end itself enforces, and takes it back.  All calls are safe
to repeat for the same `Wanted`, for a crash may come between any two steps; all block and are made in a worker
thread.  They raise `RunError` for what ends the run, `NoSlot` when it has to wait its turn, `Unavailable` when the
back end cannot be asked now.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from wherry.model.drivers import DriverFacts
from wherry.model.errors import RunError

Json = dict[str, Any]
Access = Literal["read", "write", "mirror"]


class NoSlot(RunError):
    """The back end has no room for one more: nothing was changed."""

    def __init__(self) -> None:
        super().__init__("AZSM1035")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be opened.

    `id` is a name for it at the back end: ASCII, at most 40 characters, never used twice.  `place` is the URL of a
    container, bucket or share, `prefix` the path below it that the run writes to, `told` what else the driver keeps
    with the run (addresses and names of secrets, never a secret).
    """

    id: str
    run: str
    place: str
    access: Access
    prefix: bytes
    told: Json


@dataclass(frozen=True, slots=True)
class Material:
    """What the holder of a lease gets: `identity` (id of a key, name of a user), the secret, a region of S3.

    `ca`: certificates that the server is trusted by, where that is not for the system to say.
    """

    secret: str = field(default="", repr=False)
    identity: str = ""
    region: str = ""
    ca: str = ""

    def to_json(self) -> Json:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Issued:
    """A credential that works now; `expires_at` is when the back end ends it by itself (Unix seconds)."""

    material: Material
    expires_at: float


class Driver(Protocol):
    """One kind of credential."""

    @property
    def facts(self) -> DriverFacts:
        """What it limits and what it cannot."""

    def issue(self, wanted: Wanted, until: float) -> Issued:
        """Let the run in until then, or as near to it as the back end can."""

    def renew(self, wanted: Wanted, material: Material, until: float) -> Issued:
        """Move the end on; what the agent holds stays good, unless the back end cannot do that."""

    def withdraw(self, wanted: Wanted, material: Material) -> None:
        """End it now, and see that it is refused; nothing happens when it is gone already."""

    def names(self, told: Json) -> list[str]:
        """The ids of all that stands there, of whoever; nothing where the back end keeps none."""
