"""The resource API as the person who is signed in.  Called by the commands of each noun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wherry.cli import defaults
from wherry.cli.place import Place

if TYPE_CHECKING:
    from wherry.client.rest import ResourceClient


@dataclass(frozen=True)
class Session:
    """A connection, and where in it a command works."""

    api: ResourceClient
    at: Place

    def every(self, path: str, **query: str) -> list[Any]:
        """All resources of a collection."""
        return list(self.api.list(path, **query))


@contextmanager
def session(
    group: str | None = None, mover: str | None = None, project: str | None = None
) -> Iterator[Session]:
    """Be connected while the block runs."""
    # Slow to import, and not needed to show help.
    from wherry.client.login import SignIn
    from wherry.client.rest import ResourceClient

    profile = defaults.profile()
    with ResourceClient(profile, SignIn(profile)) as api:
        yield Session(api, Place(profile, group, mover, project))


def described(description: str | None, **properties: Any) -> dict[str, Any]:
    """The properties of a request: those that were given."""
    told = {"description": description, **properties}
    return {name: value for name, value in told.items() if value is not None}
