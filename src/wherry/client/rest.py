"""A synchronous client of the resource API.

Requests are repeated where that is safe: GET, PUT, PATCH and DELETE say what shall be, and a POST is repeated only
when the server refused to take it (429, 503).  What an error answer says becomes `ApiError`; no answer at all
`Unreachable`.  Used by the command line, the demo and tests; one client serves several threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from wherry.client.connection import Connection, Json, error_of, json_of, retry_after, unreachable
from wherry.client.profile import Profile
from wherry.model.errors import ApiError

API_VERSIONS = {
    "microsoft.storagemover": "2025-12-01",
    "microsoft.hybridcompute": "2026-07-15",
    "microsoft.authorization": "2022-04-01",
    "microsoft.storage": "2024-01-01",
    "microsoft.keyvault": "2023-07-01",
    "microsoft.insights": "2015-04-01",
}
T = TypeVar("T")

GROUPS_VERSION = "2024-11-01"
TENANTS_VERSION = "2022-12-01"
_DONE = ("Succeeded", "Failed", "Canceled")
OPERATION_LIMIT = 600.0


class TokenSource(Protocol):
    """Who has access tokens for the resource API (`login.SignIn`)."""

    def token(self, *, fresh: bool = False) -> str:
        """An access token; `fresh` when the last one was refused."""


class FixedToken:
    """A token that somebody else takes care of."""

    def __init__(self, value: str) -> None:
        self._value = value

    def token(self, *, fresh: bool = False) -> str:
        return self._value


class ResourceClient:
    """The resource API of one deployment, as one caller.

    Paths are resource ids or collections of them (`/subscriptions/…`); the api-version is found by the provider in
    the path unless a call names another.  Bodies and answers are the API's own JSON objects.
    """

    def __init__(
        self, profile: Profile, tokens: TokenSource, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.profile = profile
        self._tokens = tokens
        self._sleep = sleep
        self._connection = Connection(profile.url, profile.ca_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str, *, api_version: str | None = None, **query: str) -> Json:
        """The resource at `path`."""
        return json_of(self._call("GET", path, _query(path, api_version, query)))

    def put(self, path: str, body: Mapping[str, Any], *, api_version: str | None = None) -> Json:
        """Make or replace the resource; waits when the server goes on with it after its answer."""
        answer = self._call("PUT", path, _query(path, api_version, {}), body)
        self._finish(answer)
        return json_of(answer)

    def patch(self, path: str, body: Mapping[str, Any], *, api_version: str | None = None) -> Json:
        """Change the named properties of the resource."""
        answer = self._call("PATCH", path, _query(path, api_version, {}), body)
        self._finish(answer)
        return json_of(answer)

    def delete(self, path: str, *, api_version: str | None = None, wait: bool = True) -> bool:
        """Remove the resource, by default until it is gone; False when it was not there."""
        answer = self._call("DELETE", path, _query(path, api_version, {}))
        if wait:
            self._finish(answer)
        return answer.status_code != 204

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, api_version: str | None = None
    ) -> Json:
        """An operation of the resource, as `…/startJob`."""
        answer = self._call("POST", path, _query(path, api_version, {}), body)
        self._finish(answer)
        return json_of(answer)

    def list(self, path: str, *, api_version: str | None = None, **query: str) -> Iterator[Json]:
        """All resources of a collection, page after page."""
        page = self.get(path, api_version=api_version, **query)
        while True:
            yield from page.get("value", [])
            following = page.get("nextLink") or page.get("@odata.nextLink")
            if not following:
                return
            page = json_of(self._call("GET", str(following), {}))

    def lines(self, path: str, *, api_version: str | None = None, **query: str) -> Iterator[str]:
        """The lines of an answer that is no JSON document but many, as they arrive."""
        yield from self._stream("GET", path, httpx.Response.iter_lines, _query(path, api_version, query))

    def pieces(self, path: str, *, api_version: str | None = None, **query: str) -> Iterator[bytes]:
        """An answer that is a file, piece by piece as it arrives."""
        yield from self._stream("GET", path, httpx.Response.iter_bytes, _query(path, api_version, query))

    def content(self, path: str, *, api_version: str | None = None) -> Iterator[bytes]:
        """What an operation of the resource answers that is a file, as it arrives."""
        yield from self._stream("POST", path, httpx.Response.iter_bytes, _query(path, api_version, {}))

    def _stream(
        self, method: str, path: str, read: Callable[[httpx.Response], Iterator[T]], told: Mapping[str, str]
    ) -> Iterator[T]:
        for fresh in (False, True):
            options: dict[str, Any] = {
                "headers": {"Authorization": f"Bearer {self._tokens.token(fresh=fresh)}"},
                "params": dict(told),
            }
            try:
                with self._connection.http.stream(
                    method, self._connection.absolute(path), **options
                ) as answer:
                    if answer.status_code < 400:
                        yield from read(answer)
                        return
                    answer.read()
            except httpx.TransportError as trouble:
                raise unreachable(self.profile.url, trouble) from trouble
            if answer.status_code != 401 or fresh:
                raise error_of(answer)

    def _call(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        answer = self._send(method, path, query, body, fresh=False)
        if answer.status_code == 401:
            answer = self._send(method, path, query, body, fresh=True)
        if answer.status_code >= 400:
            raise error_of(answer)
        return answer

    def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, fresh: bool
    ) -> httpx.Response:
        options: dict[str, Any] = {"headers": {"Authorization": f"Bearer {self._tokens.token(fresh=fresh)}"}}
        # httpx would drop the query that a link already has.
        if query:
            options["params"] = query
        if body is not None:
            options["json"] = body
        if method != "POST":
            return self._connection.ask(method, path, **options)
        for attempt in range(1, 4):
            answer = self._post_once(path, options)
            if answer.status_code not in (429, 503):
                break
            self._sleep(retry_after(answer, attempt))
        return answer

    def _post_once(self, path: str, options: dict[str, Any]) -> httpx.Response:
        try:
            return self._connection.send("POST", path, **options)
        except httpx.TransportError as trouble:
            raise unreachable(self.profile.url, trouble) from trouble

    def _finish(self, answer: httpx.Response) -> None:
        """Wait for a long-running operation that `answer` began; `ApiError` when it does not succeed."""
        link = answer.headers.get("Azure-AsyncOperation") or answer.headers.get("Location")
        if answer.status_code not in (201, 202) or not link:
            return
        asynchronous = "Azure-AsyncOperation" in answer.headers
        deadline = time.monotonic() + OPERATION_LIMIT
        attempt = 1
        while time.monotonic() < deadline:
            self._sleep(retry_after(answer, attempt))
            answer = self._call("GET", str(link), {})
            attempt += 1
            if not asynchronous and answer.status_code != 202:
                return
            status = json_of(answer).get("status")
            if asynchronous and status in _DONE:
                if status != "Succeeded":
                    raise error_of_operation(json_of(answer))
                return
        raise ApiError(
            504, "OperationTimedOut", "The operation goes on at the control plane; look again later."
        )


def error_of_operation(body: Json) -> ApiError:
    """The error of a long-running operation that failed."""
    error = body.get("error") or {}
    code, status = str(error.get("code") or "OperationFailed"), str(body.get("status"))
    return ApiError(409, code, str(error.get("message") or f"The operation ended {status}."))


def _query(path: str, api_version: str | None, query: Mapping[str, str]) -> dict[str, str]:
    return {"api-version": api_version or version_for(path), **query}


def version_for(path: str) -> str:
    """The api-version to ask for a path with: that of the last provider named in it."""
    words = urlsplit(path).path.lower().split("/")
    named = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "providers"]
    general = GROUPS_VERSION if "resourcegroups" in words else TENANTS_VERSION
    return API_VERSIONS.get(named[-1], general) if named else general
