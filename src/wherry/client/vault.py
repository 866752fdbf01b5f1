"""A synchronous client of one vault: secrets set, read, listed, deleted and recovered.

Sent to the control plane's own address with the vault's name as the host, so that it works where names below that of
the control plane cannot be resolved.  Called by `wherry vault secret`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import quote, urlsplit

from wherry.client.connection import Connection, Json, error_of, json_of
from wherry.client.login import SignIn
from wherry.client.profile import Profile

DEFAULT = "default"
AUDIENCE = "https://vault.azure.net"
VERSION = "7.6"


class VaultClient:
    """A vault as the person who is signed in."""

    def __init__(self, profile: Profile, sign_in: SignIn, vault: str = DEFAULT) -> None:
        self._connection = Connection(profile.url, profile.ca_file)
        self._headers = {"Authorization": f"Bearer {sign_in.token_for(AUDIENCE)}"}
        if vault.lower() != DEFAULT:
            self._headers["Host"] = f"{vault.lower()}.vault.{urlsplit(profile.url).netloc}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def set(self, name: str, body: Json) -> Json:
        """A new version."""
        return self._call("PUT", f"/secrets/{_segment(name)}", body)

    def get(self, name: str, version: str = "") -> Json:
        """A version with its value, the latest without one named."""
        return self._call("GET", f"/secrets/{_segment(name)}/{quote(version, safe='')}")

    def versions(self, name: str) -> Iterator[Json]:
        """All versions without values, the oldest first."""
        return self._list(f"/secrets/{_segment(name)}/versions")

    def every(self, *, deleted: bool = False) -> Iterator[Json]:
        """All secrets without values."""
        return self._list("/deletedsecrets" if deleted else "/secrets")

    def delete(self, name: str) -> Json:
        """Delete a secret; it can be recovered."""
        return self._call("DELETE", f"/secrets/{_segment(name)}")

    def recover(self, name: str) -> Json:
        """Take a deleted secret back."""
        return self._call("POST", f"/deletedsecrets/{_segment(name)}/recover")

    def purge(self, name: str) -> None:
        """Forget a deleted secret for good."""
        self._call("DELETE", f"/deletedsecrets/{_segment(name)}")

    def _list(self, path: str) -> Iterator[Json]:
        page = self._call("GET", path)
        while True:
            yield from page.get("value", [])
            following = page.get("nextLink")
            if not following:
                return
            parts = urlsplit(str(following))
            page = self._call("GET", f"{parts.path}?{parts.query}")

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        options: dict[str, Any] = {"headers": self._headers}
        if "?" not in path:
            options["params"] = {"api-version": VERSION}
        if body is not None:
            options["json"] = body
        answer = self._connection.ask(method, path, **options)
        if answer.status_code >= 400:
            raise error_of(answer)
        return json_of(answer)


def _segment(name: str) -> str:
    return quote(name, safe="")
