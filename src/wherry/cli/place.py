"""Ids of resources out of names, as the options give them.  Called by the commands of each noun."""

from __future__ import annotations

from urllib.parse import quote

from wherry.cli import defaults
from wherry.client.profile import Profile
from wherry.model.errors import UsageError


class Place:
    """Where the resources of one command lie; names that are not given come from the defaults."""

    def __init__(
        self, profile: Profile, group: str | None, mover: str | None = None, project: str | None = None
    ) -> None:
        self.subscription = profile.subscription_path
        self._group = group
        self._mover = mover
        self._project = project

    @property
    def groups(self) -> str:
        return f"{self.subscription}/resourceGroups"

    @property
    def group(self) -> str:
        return f"{self.groups}/{segment(defaults.find('group', self._group))}"

    @property
    def movers(self) -> str:
        return f"{self.group}/providers/Microsoft.StorageMover/storageMovers"

    @property
    def every_mover(self) -> str:
        """The movers of all groups."""
        return f"{self.subscription}/providers/Microsoft.StorageMover/storageMovers"

    @property
    def mover(self) -> str:
        return f"{self.movers}/{segment(defaults.find('mover', self._mover))}"

    def of_mover(self, kind: str, name: str | None = None) -> str:
        """A collection in the mover, or one resource of it."""
        return f"{self.mover}/{kind}" + (f"/{segment(name)}" if name is not None else "")

    @property
    def jobs(self) -> str:
        return f"{self.of_mover('projects', defaults.find('project', self._project))}/jobDefinitions"

    def job(self, name: str) -> str:
        return f"{self.jobs}/{segment(name)}"

    @property
    def accounts(self) -> str:
        return f"{self.group}/providers/Microsoft.Storage/storageAccounts"

    def account(self, name_or_id: str) -> str:
        """A storage account: by its id, or by its name in the same resource group."""
        if name_or_id.startswith("/"):
            return name_or_id
        return f"{self.accounts}/{segment(name_or_id)}"

    @property
    def private_link_scopes(self) -> str:
        return f"{self.group}/providers/Microsoft.HybridCompute/privateLinkScopes"

    def private_link_scope(self, name: str) -> str:
        return f"{self.private_link_scopes}/{segment(name)}"

    def containers(self, account: str) -> str:
        return f"{self.account(account)}/blobServices/default/containers"


def segment(name: str) -> str:
    """A name as one segment of a path."""
    if not name or "/" in name or name in (".", ".."):
        raise UsageError(f"'{name}' is no name of a resource.")
    return quote(name, safe="()")
