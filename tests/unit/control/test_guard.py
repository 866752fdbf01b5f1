"""No route without access; who calls, whether they may, and the trail of it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import insert
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.unit.control import flows
from tests.unit.control.conftest import URL
from wherry.control import audit
from wherry.control.access import Routes, bearer, public, resource, scope_of_path, session
from wherry.control.app import create_app
from wherry.control.areas import AREAS
from wherry.control.db.tables_identity import meta
from wherry.control.guard import GuardedRoute
from wherry.control.middleware import MAX_BODY
from wherry.control.plane import caller, plane
from wherry.control.services import role_assignments, users
from wherry.model.errors import ApiError
from wherry.trust.roles import READER

GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
THING = GROUP + "/providers/Contoso.Things/things/{thing}"
RUN = "/providers/Microsoft.StorageMover/storageMovers/m/projects/p/jobDefinitions/j/jobRuns/r"
ROUTES = Routes(case_insensitive=True)


@ROUTES.get(THING, resource("Contoso.Things/things/read"))
async def read(request: Request, thing: str) -> dict[str, str]:
    return {"thing": thing, "by": caller(request).name}


@ROUTES.put(THING, resource("Contoso.Things/things/write"))
async def write(request: Request, thing: str) -> dict[str, str]:
    await plane(request).database.write(_write, thing)
    await plane(request).database.write(_write, thing + "-again")
    if thing == "refused":
        raise ApiError(409, "Taken", "It is taken.", "thing")
    return {}


@ROUTES.post(THING + "/touch", resource("Contoso.Things/things/touch/action"))
async def touch(request: Request) -> Response:
    await request.body()
    return JSONResponse({})


@ROUTES.post(THING + "/fail", bearer())
async def fail(request: Request) -> Response:
    raise RuntimeError("the secret is 4711")


@ROUTES.post(THING + "/often", replace(bearer(), routine=True))
async def often(request: Request) -> Response:
    return JSONResponse({})


@ROUTES.put("/typed", public())
async def typed(body: dict[str, int]) -> dict[str, int]:
    return body


@ROUTES.get("/page", session())
async def page(request: Request) -> dict[str, str]:
    return {"name": caller(request).name}


def _write(conn: Any, key: str) -> None:
    if key == "undone":
        raise ApiError(400, "Undone", "It was undone.")
    conn.execute(insert(meta).values(key=key, value=""))


@pytest.fixture
async def client(plane):
    transport = httpx.ASGITransport(create_app(plane, (*AREAS, ROUTES)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


@pytest.fixture
async def token(client, made) -> dict[str, str]:
    return {"Authorization": f"Bearer {(await flows.signed_in(client, made.password))['access_token']}"}


@pytest.fixture
def thing(plane) -> str:
    return THING.format(subscription=plane.subscription, group="G", thing="t")


def trail(plane, action: str) -> list[dict[str, Any]]:
    with plane.database.snapshot() as conn:
        return [record for record in audit.records(conn) if record["action"] == action]


def demote(plane, admin: str) -> None:
    """The administrator may only read from now on."""
    with plane.database.transaction() as conn:
        other = users.create(conn, "other", "Other", "password", 0.0)
        role_assignments.create(
            conn, role="8e3af657-a8ff-443c-a75c-2fe8c4bcb635", principal_id=other, principal_type="User", scope="/",
            by=admin, now=0.0,
        )  # fmt: skip
        for assignment in role_assignments.of_principal(conn, admin):
            role_assignments.remove(conn, assignment.id)
        role_assignments.create(
            conn, role=READER.guid, principal_id=admin, principal_type="User", scope="/", by=admin, now=0.0
        )


def test_every_route_of_the_product_says_who_may_call_it(plane):
    app = create_app(plane)
    guarded = [route for route in app.router.routes if isinstance(route, GuardedRoute)]
    assert len(guarded) == len(app.router.routes) > 40
    open_to_all = {route.path for route in guarded if route.access.kind == "public"}
    assert open_to_all == {
        "/healthz", "/ca.pem", "/openapi.json", "/metadata/endpoints", "/signin", "/signin/style.css",
        "/signin/upstream", "/signin/upstream/{provider}", "/signout", "/password", "/device", "/pages/style.css",
        "/signin/passkey.js", "/factor", "/factor/enrol",
        "/device/decide", "/adfs/.well-known/openid-configuration", "/{tenant}/v2.0/.well-known/openid-configuration",
        "/{tenant}/discovery/v2.0/keys", "/{tenant}/discovery/keys", "/{tenant}/oauth2/v2.0/devicecode",
        "/{tenant}/oauth2/devicecode", "/{tenant}/oauth2/v2.0/token", "/{tenant}/oauth2/token",
    }  # fmt: skip
    assert all(route.access.action for route in guarded if route.access.kind == "resource")
    routine = {route.path for route in guarded if route.access.routine}
    assert routine == {
        "/agent/v1/heartbeat", "/agent/v1/leases", "/agent/v1/runs/{run}/renew", "/agent/v1/runs/{run}/commit",
        "/agent/v1/packages/{version}", "/agent/v1/token",
        "/agent/v1/runs/{run}/items", "/agent/v1/runs/{run}/sighting", "/agent/v1/runs/{run}/events",
        "/agent/v1/segments/{run}/{partition}/{epoch}/{file}",
        "/agent/v1/runs", "/agent/v1/runs/{run}", "/agent/v1/runs/{run}/copyLogs", "/agent/v1/places",
        "/agent/v1/bundles/{bundle}/{offset}",
    }  # fmt: skip


async def test_what_is_routine_is_counted(client, plane, token, thing):
    for _ in range(3):
        assert (await client.post(thing + "/often", headers=token)).status_code == 200
    assert trail(plane, "wherry/bearer") == []
    with plane.database.transaction() as conn:
        plane.counters.flush(conn, plane.clock() + 60)
    (record,) = trail(plane, "wherry/bearer")
    assert (record["result"], record["count"]) == ("counted", 3)


def test_a_route_beside_the_guard_and_a_place_taken_twice_make_no_application(plane):
    twice = Routes()
    twice.get("/healthz", public())(read)
    with pytest.raises(ValueError, match="two routes"):
        create_app(plane, (*AREAS, twice))


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/subscriptions", ""),
        ("/subscriptions/S", "/subscriptions/S"),
        ("/subscriptions/S/resourceGroups", "/subscriptions/S"),
        ("/subscriptions/S/resourcegroups/G", "/subscriptions/S/resourcegroups/G"),
        ("/subscriptions/S/providers", "/subscriptions/S"),
        ("/subscriptions/S/providers/P", "/subscriptions/S"),
        ("/subscriptions/S/providers/P/register", "/subscriptions/S"),
        ("/subscriptions/S/resourceGroups/G/providers/P/movers", "/subscriptions/S/resourceGroups/G"),
        ("/a/b/providers/P/movers/m/", "/a/b/providers/P/movers/m"),
        ("/a/b/providers/P/movers/providers", "/a/b/providers/P/movers/providers"),
        ("/a/b/providers/P/m/m/jobs/j/startJob", "/a/b/providers/P/m/m/jobs/j"),
        ("/a/b/providers/P/m/m/providers/Microsoft.Authorization/roleAssignments", "/a/b/providers/P/m/m"),
        ("/providers/P/roleDefinitions/x", "/providers/P/roleDefinitions/x"),
    ],
)  # fmt: skip
def test_the_scope_of_a_path(path, scope):
    assert scope_of_path(path) == scope


async def test_letters_that_only_resemble_those_of_a_path_are_others(client, token):
    path = "/providers/Micro\u017foft.Authorization/roleDefinitions?api-version=2022-04-01"
    assert (await client.get(path, headers=token)).status_code == 404


@pytest.mark.parametrize("top", ["\u00b2", "9" * 5000, "-1", "0", "1001"])
async def test_a_page_has_a_bearable_number_of_rows(client, token, plane, top):
    path = GROUP.format(subscription=plane.subscription, group="g") + RUN + "/events"
    answer = await client.get(path, headers=token, params={"api-version": "2025-12-01", "$top": top})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidQueryParameter")


async def test_case_of_a_path_does_not_matter_and_names_keep_theirs(client, token, thing):
    answer = await client.get(
        thing.replace("Contoso", "CONTOSO").replace("resourceGroups", "resourcegroups"), headers=token
    )
    assert answer.json() == {"thing": "t", "by": "admin"}


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer a.b.c"},
     {"Authorization": "Bearer " + "a" * 9000}],
)  # fmt: skip
async def test_nobody_gets_nothing_and_is_counted(client, plane, thing, headers):
    answer = await client.get(thing, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] in ("AuthenticationFailed", "InvalidAuthenticationToken")
    assert answer.headers["WWW-Authenticate"].startswith(f'Bearer authorization_uri="{URL}/')
    with plane.database.transaction() as conn:
        assert plane.counters.flush(conn, plane.clock() + 60) == 1
    (record,) = trail(plane, "Contoso.Things/things/read")
    assert (record["result"], record["details"]["result"], record["count"]) == ("counted", "denied", 1)


async def test_a_body_of_nobody_is_not_even_read(client, thing):
    answer = await client.put(thing, content=b"no json", headers={"content-type": "application/json"})
    assert answer.status_code == 401


async def test_a_refusal_of_somebody_is_in_the_trail_before_it_is_answered(
    client, plane, token, thing, admin
):
    demote(plane, admin)
    answer = await client.put(thing, headers=token)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "AuthorizationFailed"
    assert (
        "does not have authorization to perform action 'Contoso.Things/things/write' over scope"
        in answer.text
    )
    (record,) = trail(plane, "Contoso.Things/things/write")
    assert (record["result"], record["scope"], record["actor"]) == ("denied", thing, admin)
    assert record["request_id"] == answer.headers["x-ms-request-id"]
    assert (await client.get(thing, headers=token)).status_code == 200


async def test_a_write_and_its_record_are_one(client, plane, token, thing):
    assert (await client.put(thing, headers=token)).status_code == 200
    (record,) = trail(plane, "Contoso.Things/things/write")
    assert (record["result"], record["reason"]) == ("allowed", "role Owner")
    assert record["assignment"]


async def test_a_write_that_is_undone_leaves_a_record_that_says_so(client, plane, token, thing):
    answer = await client.put(thing.removesuffix("/t") + "/undone", headers=token)
    assert answer.json() == {"error": {"code": "Undone", "message": "It was undone."}}
    (record,) = trail(plane, "Contoso.Things/things/write")
    assert (record["result"], record["status"], record["reason"]) == ("refused", 400, "Undone")


async def test_an_action_without_a_write_is_in_the_trail_too(client, plane, token, thing):
    assert (await client.post(thing + "/touch", headers=token)).status_code == 200
    assert len(trail(plane, "Contoso.Things/things/touch/action")) == 1


async def test_reads_are_counted(client, plane, token, thing):
    for _ in range(3):
        await client.get(thing, headers=token)
    with plane.database.transaction() as conn:
        plane.counters.flush(conn, plane.clock(), everything=True)
    (record,) = trail(plane, "Contoso.Things/things/read")
    assert (record["count"], record["details"]["result"]) == (3, "allowed")


async def test_what_goes_wrong_is_told_to_the_log_and_not_to_the_caller(client, token, thing, caplog):
    with caplog.at_level(logging.ERROR, "wherry.control"):
        answer = await client.post(thing + "/fail", headers=token)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "InternalServerError"
    assert "4711" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    (record,) = (one for one in caplog.records if one.name == "wherry.control")
    assert getattr(record, "request_id", "") == answer.headers["x-ms-request-id"]


@pytest.mark.parametrize("path", ["/a%2fb", "/a//b", "/a/../b", "/a/%2e%2e/b", "/a%5cb", "/a%00", "/a/."])
async def test_a_path_that_means_two_things_is_refused(plane, path):
    app = create_app(plane)
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "query_string": b"",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 400


async def test_bodies_are_bounded_whether_they_say_so_or_not(client, token, thing):
    async def endless():
        for _ in range(MAX_BODY // 65536 + 2):
            yield b"x" * 65536

    told = await client.post(thing + "/touch", headers=token, content=b"x" * (MAX_BODY + 1))
    assert (told.status_code, told.json()["error"]["code"]) == (413, "RequestContentTooLarge")
    untold = await client.post(thing + "/touch", headers=token, content=endless())
    assert untold.status_code == 413
    fits = await client.post(thing + "/touch", headers=token, content=b"x" * MAX_BODY)
    assert fits.status_code == 200


async def test_errors_have_the_shape_of_arm(client):
    assert (await client.get("/nowhere")).json()["error"]["code"] == "NotFound"
    assert (await client.delete("/healthz")).json()["error"]["code"] == "MethodNotAllowed"
    invalid = await client.put("/typed", json={"a": "b"})
    assert (invalid.status_code, invalid.json()["error"]["code"]) == (400, "InvalidRequestContent")
    broken = await client.put("/typed", content=b"{", headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "InvalidRequestContent")
    deep = await client.put("/typed", content=b"[" * 200_000, headers={"content-type": "application/json"})
    assert deep.status_code == 400


async def test_ids_of_requests(client):
    mine, theirs = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    headers = {
        "x-ms-client-request-id": mine, "x-ms-return-client-request-id": "true", "x-ms-correlation-request-id": theirs,
    }  # fmt: skip
    answer = await client.get("/healthz", headers=headers)
    assert answer.headers["x-ms-client-request-id"] == mine
    assert answer.headers["x-ms-correlation-request-id"] == theirs
    assert answer.headers["x-ms-request-id"] not in (mine, theirs)
    odd = await client.get("/healthz", headers={"x-ms-correlation-request-id": "a b"})
    assert odd.headers["x-ms-correlation-request-id"] == odd.headers["x-ms-request-id"]


async def test_a_page_sends_strangers_to_the_sign_in(client, made):
    answer = await client.get("/page")
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    await flows.consent_page(client, "BCDF-GHJK", made.password)
    assert (await client.get("/page")).json() == {"name": "admin"}


async def test_a_record_never_holds_what_was_sent(client, plane, token, thing):
    await client.put(thing, headers=token, json={"password": "canary-4711"})
    with plane.database.snapshot() as conn:
        assert "canary-4711" not in json.dumps(list(audit.records(conn)))
