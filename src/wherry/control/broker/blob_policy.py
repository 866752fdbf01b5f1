"""Containers of Blob by a stored access policy of the run and the SAS that names it.

The policy carries rights and expiry; taking it off the container ends the SAS at the next request.  On a flat namespace
nothing narrower than the container can be enforced this way.

What calls the service is imported with the first call: a control plane that starts does not wait for the vendor's SDK.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherry.control.broker.port import Issued, Json, Material, Wanted
from wherry.control.broker.sources import Secrets
from wherry.control.services.accounts import Account
from wherry.model.drivers import BLOB_SAS, DriverFacts
from wherry.model.errors import Unavailable

PERMISSIONS = {"read": "rl", "write": "rwl", "mirror": "rwdl"}


@dataclass(frozen=True, slots=True)
class BlobPolicy:
    """The driver; `probe_seconds` is how long a change of policies may take the service."""

    secrets: Secrets
    probe_seconds: float

    @property
    def facts(self) -> DriverFacts:
        return BLOB_SAS

    def issue(self, wanted: Wanted, until: float) -> Issued:
        from wherry.control.broker import blob

        account, container = self._place(wanted.told)
        blob.put(account, container, wanted.id, PERMISSIONS[wanted.access], until)
        sas = blob.sign(account, container, wanted.id)
        if not blob.wait_until(account, container, sas, self.probe_seconds, open_=True):
            raise Unavailable("the storage account does not let the new policy in yet")
        return Issued(Material(sas), float(int(until)))

    def renew(self, wanted: Wanted, material: Material, until: float) -> Issued:
        del material
        return self.issue(wanted, until)

    def withdraw(self, wanted: Wanted, material: Material) -> None:
        from wherry.control.broker import blob

        del material
        account, container = self._place(wanted.told)
        blob.drop(account, container, wanted.id)
        sas = blob.sign(account, container, wanted.id)
        if not blob.wait_until(account, container, sas, self.probe_seconds, open_=False):
            raise Unavailable("the storage account still lets the withdrawn policy in")

    def names(self, told: Json) -> list[str]:
        from wherry.control.broker import blob

        account, container = self._place(told)
        return blob.names(account, container)

    def _place(self, told: Json) -> tuple[Account, str]:
        """The back end that the policy stands on, by the name and address that it had at the run's start."""
        now = self.secrets.account(told["accountKey"])
        return Account(now.id, told["endpoint"], told["account"], now.key), told["container"]
