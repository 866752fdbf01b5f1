"""Shares by name and password out of a vault, handed out for a lease.

Whatever the account may do at the server, the agent may do meanwhile, and could go on doing until the password is
changed there: nothing of it is enforced for the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherry.control.broker.port import Issued, Json, Material, Wanted
from wherry.control.broker.sources import Secrets
from wherry.model.drivers import SMB_SECRET, DriverFacts


@dataclass(frozen=True, slots=True)
class SmbSecret:
    """The driver."""

    secrets: Secrets

    @property
    def facts(self) -> DriverFacts:
        return SMB_SECRET

    def issue(self, wanted: Wanted, until: float) -> Issued:
        told = wanted.told
        identity, secret = (
            self.secrets.named(told[name], told["author"]) for name in ("usernameUri", "passwordUri")
        )
        return Issued(Material(secret, identity), until)

    def renew(self, wanted: Wanted, material: Material, until: float) -> Issued:
        """Read again, for the password may have been changed."""
        del material
        return self.issue(wanted, until)

    def withdraw(self, wanted: Wanted, material: Material) -> None:
        """Nothing can be done at the server: the password is what it was."""

    def names(self, told: Json) -> list[str]:
        """None: nothing is made for a run."""
        del told
        return []
