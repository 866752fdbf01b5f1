"""Containers of Blob by a token of an application in Entra that trusts our issuer.  Unproven here.

Built to the contract of federated credentials: our signed assertion is exchanged for an access token to storage.  The
application's own roles limit what it may do; nothing of it belongs to one run, and it ends by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from wherry.control.broker.port import Issued, Json, Material, Wanted
from wherry.model.drivers import BLOB_TOKEN, DriverFacts
from wherry.model.errors import RunError, Unavailable

AUDIENCE = "api://AzureADTokenExchange"
SCOPE = "https://storage.azure.com/.default"
BEARER = "Bearer "
_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TIMEOUT = httpx.Timeout(15.0, connect=5.0)


@dataclass(frozen=True, slots=True)
class BlobToken:
    """The driver; `assertion` takes subject and audience and signs what Entra checks against our published keys."""

    assertion: Callable[[str, str], str]

    @property
    def facts(self) -> DriverFacts:
        return BLOB_TOKEN

    def issue(self, wanted: Wanted, until: float) -> Issued:
        del until  # It is as long as Entra makes it.
        told = wanted.told["federation"]
        form = {
            "grant_type": "client_credentials",
            "client_id": told["clientId"],
            "scope": SCOPE,
            "client_assertion_type": _TYPE,
            "client_assertion": self.assertion(wanted.told["subject"], AUDIENCE),
        }
        url = f"{told['authority'].rstrip('/')}/{told['tenantId']}/oauth2/v2.0/token"
        try:
            answer = httpx.post(url, data=form, timeout=_TIMEOUT, follow_redirects=False)
        except httpx.TransportError as trouble:
            raise Unavailable("the authority for tokens to storage cannot be reached") from trouble
        token, seconds = _token(answer)
        return Issued(Material(BEARER + token), time.time() + seconds)

    def renew(self, wanted: Wanted, material: Material, until: float) -> Issued:
        """A new token; the old one goes on to its own end."""
        del material
        return self.issue(wanted, until)

    def withdraw(self, wanted: Wanted, material: Material) -> None:
        """Nothing can be done: what was handed out ends by itself."""

    def names(self, told: Json) -> list[str]:
        """None: nothing is made for a run."""
        del told
        return []


def _token(answer: httpx.Response) -> tuple[str, float]:
    if answer.status_code == 429 or answer.status_code >= 500:
        raise Unavailable(f"the authority for tokens to storage answered {answer.status_code}")
    try:
        found = answer.json() if answer.status_code == 200 else {}
        return str(found["access_token"]), float(found["expires_in"])
    except (KeyError, TypeError, ValueError) as refused:
        message = f"The authority for tokens to storage refuses our issuer: {answer.status_code}."
        raise RunError("AZSM1024", message) from refused
