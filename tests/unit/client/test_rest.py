"""The client of the resource API against a server that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tls_server import DROP, Answer, Request, TlsServer, tls_server
from wherry.client.connection import Unreachable
from wherry.client.profile import Profile
from wherry.client.rest import FixedToken, ResourceClient, version_for
from wherry.model.errors import ApiError

THING = "/subscriptions/s/resourceGroups/g/providers/Microsoft.StorageMover/storageMovers/m"


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(profile: Profile, waits: list[float]) -> Iterator[ResourceClient]:
    with ResourceClient(profile, FixedToken("t"), waits.append) as opened:
        yield opened


def test_a_request_carries_token_and_api_version(server: TlsServer, client: ResourceClient) -> None:
    server.on("GET", THING, Answer(200, {"name": "m"}))

    assert client.get(THING) == {"name": "m"}

    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer t"
    assert request.query == "api-version=2025-12-01"


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/subscriptions", "2022-12-01"),
        ("/subscriptions/s/resourceGroups/g", "2024-11-01"),
        (THING, "2025-12-01"),
        (f"{THING}/providers/Microsoft.Authorization/roleAssignments/x", "2022-04-01"),
    ],
)
def test_the_version_is_that_of_the_last_provider(path: str, version: str) -> None:
    assert version_for(path) == version


def test_a_put_is_sent_again_after_no_answer_and_after_503(server: TlsServer, client: ResourceClient) -> None:
    server.script("PUT", THING, DROP, Answer(503, headers={"Retry-After": "0"}), Answer(200, {"name": "m"}))

    assert client.put(THING, {"location": "here"}) == {"name": "m"}
    assert [request.json for request in server.requests] == [{"location": "here"}] * 3


def test_a_post_is_not_sent_again_when_nobody_knows_what_it_did(
    server: TlsServer, client: ResourceClient
) -> None:
    server.on("POST", f"{THING}/startJob", DROP)

    with pytest.raises(Unreachable):
        client.post(f"{THING}/startJob")

    assert len(server.requests) == 1


def test_a_post_that_was_not_taken_is_sent_again(
    server: TlsServer, client: ResourceClient, waits: list[float]
) -> None:
    server.script(
        "POST", f"{THING}/startJob", Answer(429, headers={"Retry-After": "3"}), Answer(200, {"ok": 1})
    )

    assert client.post(f"{THING}/startJob") == {"ok": 1}
    assert waits == [3.0]


def test_an_error_of_the_api_keeps_its_words(server: TlsServer, client: ResourceClient) -> None:
    error = {"error": {"code": "ResourceNotFound", "message": "It is not there.", "target": "name"}}
    server.on("GET", THING, Answer(404, error))

    with pytest.raises(ApiError, match="It is not there") as caught:
        client.get(THING)

    assert (caught.value.status, caught.value.code, caught.value.target) == (404, "ResourceNotFound", "name")


def test_a_collection_is_read_page_by_page(server: TlsServer, client: ResourceClient) -> None:
    def page(request: Request) -> Answer:
        if "skip" in request.query:
            return Answer(200, {"value": [{"name": "b"}]})
        # Another name of the same control plane: what we send goes where we trust it.
        link = f"https://elsewhere.example{THING}?api-version=2025-12-01&$skipToken=x"
        return Answer(200, {"value": [{"name": "a"}], "nextLink": link})

    server.on("GET", THING, page)

    assert [one["name"] for one in client.list(THING)] == ["a", "b"]


@pytest.mark.parametrize("header", ["Azure-AsyncOperation", "Location"])
def test_a_delete_ends_when_the_operation_has(
    server: TlsServer, client: ResourceClient, header: str, waits: list[float]
) -> None:
    link = f"{server.url}/operations/1?api-version=x"
    server.on("DELETE", THING, Answer(202, headers={header: link, "Retry-After": "1"}))
    server.script(
        "GET",
        "/operations/1",
        Answer(202 if header == "Location" else 200, {"status": "Deleting"}),
        Answer(200, {"status": "Succeeded"}),
    )

    assert client.delete(THING)
    assert len(server.seen("/operations/1")) == 2
    assert waits[0] == 1.0


def test_a_delete_that_fails_later_is_an_error(server: TlsServer, client: ResourceClient) -> None:
    server.on("DELETE", THING, Answer(202, headers={"Azure-AsyncOperation": f"{server.url}/operations/1"}))
    error = {"code": "InUse", "message": "A run is going on."}
    server.on("GET", "/operations/1", Answer(200, {"status": "Failed", "error": error}))

    with pytest.raises(ApiError, match="A run is going on") as caught:
        client.delete(THING)

    assert caught.value.code == "InUse"


def test_what_is_not_there_was_not_deleted(server: TlsServer, client: ResourceClient) -> None:
    server.on("DELETE", THING, Answer(204))

    assert not client.delete(THING)


def test_a_refused_token_is_renewed_once(server: TlsServer, profile: Profile) -> None:
    asked: list[bool] = []

    class Tokens:
        def token(self, *, fresh: bool = False) -> str:
            asked.append(fresh)
            return "new" if fresh else "old"

    server.on(
        "GET", THING, lambda request: Answer(200 if request.headers["authorization"].endswith("new") else 401)
    )

    with ResourceClient(profile, Tokens()) as client:
        client.get(THING)

    assert asked == [False, True]


def test_a_server_with_another_authority_gets_nothing(
    server: TlsServer, profile: Profile, tmp_path: Path
) -> None:
    with tls_server(tmp_path / "other") as other:
        stranger = Profile(other.url, other.url, profile.tenant, profile.subscription, profile.ca_file)
        with ResourceClient(stranger, FixedToken("secret")) as client, pytest.raises(Unreachable) as caught:
            client.get(THING)

    assert "Nothing was sent" in str(caught.value)
    assert other.requests == []


def test_nobody_at_home_is_said_so(
    server: TlsServer, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.client.connection.pause", lambda *_: 0.0)
    gone = Profile("https://127.0.0.1:9", "", profile.tenant, profile.subscription, profile.ca_file)

    with (
        ResourceClient(gone, FixedToken("t")) as client,
        pytest.raises(Unreachable, match="cannot be reached"),
    ):
        client.get(THING)
