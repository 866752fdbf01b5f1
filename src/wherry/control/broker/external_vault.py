"""Secrets out of vaults elsewhere, in Azure Key Vault's shape, read with the control plane's own identity there.

Only of hosts that the operator named (`allowed`), over TLS whose certificate is verified, without following any
redirect; nothing of it is kept.  Called by `sources`, in worker threads.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from wherry.control.broker.allowed import VaultElsewhere
from wherry.control.services.secret_uris import SecretUri
from wherry.model.errors import RunError, Unavailable
from wherry.trust.authority import client_context

API_VERSION = "7.4"
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class ExternalVaults:
    """The vaults that may be asked, by host."""

    allowed: Mapping[str, VaultElsewhere] = field(default_factory=dict)

    def read(self, secret: SecretUri) -> str:
        """The value of a secret now.  `RunError` AZSM1024 when it is refused, `Unavailable` when nobody answers."""
        place = self.allowed.get(secret.host)
        if place is None:
            raise RunError(
                "AZSM1024",
                f"'{secret.host}' is no vault of this deployment, and its operator has not named it in brokers.json.",
            )
        try:
            with httpx.Client(verify=_context(place), timeout=_TIMEOUT, follow_redirects=False) as http:
                token = self._token(http, place)
                answer = http.get(
                    secret.text,
                    params={"api-version": API_VERSION},
                    headers={"Authorization": f"Bearer {token}"},
                )
        except httpx.TransportError as trouble:
            raise Unavailable(f"the vault {secret.host} cannot be reached") from trouble
        return _field(answer, "value", f"the secret '{secret.name}' of {secret.host}")

    def _token(self, http: httpx.Client, place: VaultElsewhere) -> str:
        try:
            password = place.secret_file.read_text().strip()
        except OSError as missing:
            raise RunError(
                "AZSM1024", f"{place.secret_file} cannot be read: {missing.strerror}."
            ) from missing
        form = {
            "grant_type": "client_credentials",
            "client_id": place.client_id,
            "client_secret": password,
            "scope": place.scope,
        }
        answer = http.post(place.token_url, data=form)
        return _field(answer, "access_token", f"a token for {place.host}")


def _context(place: VaultElsewhere) -> ssl.SSLContext:
    try:
        return client_context(place.ca_file) if place.ca_file else ssl.create_default_context()
    except (OSError, ssl.SSLError) as broken:
        raise RunError("AZSM1024", f"{place.ca_file} holds no certificate that can be read.") from broken


def _field(answer: httpx.Response, name: str, what: str) -> str:
    """A text of an answer; what went wrong is told by its status alone, never by what it said."""
    if answer.status_code == 429 or answer.status_code >= 500:
        raise Unavailable(f"{what} was answered {answer.status_code}")
    body: Any = None
    if answer.status_code == 200 and len(answer.content) <= _LONGEST:
        try:
            body = answer.json()
        except ValueError:
            body = None
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise RunError("AZSM1024", f"{what} was refused: {answer.status_code}.")
    return value
