"""Users, groups and programs: who may change them, what ends with them, and the owner who stays."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from tests.forms import hidden
from tests.unit.control import flows
from tests.unit.control.conftest import URL
from wherry.control import audit
from wherry.control.plane import Plane
from wherry.control.services import role_assignments, users
from wherry.trust.roles import CONTRIBUTOR, OWNER, READER, USER_ACCESS_ADMINISTRATOR

GRAPH = "/graph/v1.0"
PASSWORD = "blue horse 47 battery"


class Directory:
    """The directory as one caller sees it."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str, body: Any = None, code: int = 200) -> Any:
        answer = await self.client.request(method, GRAPH + path, json=body, headers=self.headers)
        assert answer.status_code == code, answer.text
        return answer.json() if answer.content else None

    async def user(self, login: str, **profile: Any) -> Any:
        told = {"password": PASSWORD, **profile}
        return await self.ask("POST", "/users", {"userPrincipalName": login, "passwordProfile": told}, 201)

    async def group(self, name: str) -> Any:
        return await self.ask("POST", "/groups", {"displayName": name}, 201)

    async def join(self, group: Any, member: Any, code: int = 204) -> Any:
        reference = {"@odata.id": f"{URL}{GRAPH}/directoryObjects/{member['id']}"}
        return await self.ask("POST", f"/groups/{group['id']}/members/$ref", reference, code)

    async def program(self, name: str = "program") -> Any:
        made = await self.ask("POST", "/applications", {"displayName": name}, 201)
        return await self.ask("POST", "/servicePrincipals", {"appId": made["appId"]}, 201)


@pytest.fixture
async def directory(client, made) -> Directory:
    return Directory(client, (await flows.signed_in(client, made.password))["access_token"])


def assign(plane: Plane, role: str, oid: str, kind: str = "User", scope: str = "/") -> str:
    with plane.database.transaction() as conn:
        return role_assignments.create(
            conn, role=role, principal_id=oid, principal_type=kind, scope=scope, by=oid, now=0.0
        )


async def sign_in(client, login: str, password: str) -> httpx.Response:
    client.cookies.clear()
    page = await client.get("/signin")
    return await client.post("/signin", data={**hidden(page.text), "login": login, "password": password})


async def token_of(client, login: str) -> str:
    """A user's own token, by a device code that is approved on the pages."""
    client.cookies.clear()
    code = await flows.device_code(client)
    page = await client.get("/device")
    page = await client.post("/device", data={**hidden(page.text), "user_code": code["user_code"]})
    page = await client.post("/signin", data={**hidden(page.text), "login": login, "password": PASSWORD})
    await flows.decide(client, page, "approve")
    return str((await flows.poll(client, code)).json()["access_token"])


async def secret_grant(client, app_id: str, secret: str, **more: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": app_id, "client_secret": secret,
            "scope": f"{URL}/.default", **more}  # fmt: skip
    return await client.post("/organizations/oauth2/v2.0/token", data=form)


async def test_a_first_password_opens_only_the_page_that_changes_it(client, directory):
    await directory.user("Alice@example.org")
    page = await sign_in(client, "alice@example.org", PASSWORD)
    assert "Choose a password" in page.text
    form = {**hidden(page.text), "login": "alice@example.org", "password": PASSWORD}
    for new, again, why in (("short", "short", "12 to"), (PASSWORD, PASSWORD, "another password"),
                            ("a lone green tree", "a lone greem tree", "differ"),
                            ("alice has a tree 1", "alice has a tree 1", "user name"),
                            ("Password1234", "Password1234", "guessed first")):  # fmt: skip
        refused = await client.post("/password", data={**form, "new": new, "again": again})
        assert (refused.status_code, why in refused.text) == (400, True), new
    chosen = "a lone green tree"
    done = await client.post("/password", data={**form, "new": chosen, "again": chosen})
    assert (done.status_code, done.headers["location"]) == (303, "/device")
    assert (await sign_in(client, "alice@example.org", PASSWORD)).status_code == 401
    assert (await sign_in(client, "alice@example.org", chosen)).headers["location"] == "/device"


async def test_everybody_changes_the_own_password_and_all_other_sign_ins_end(client, made, directory):
    other = Directory(client, (await flows.signed_in(client, made.password))["access_token"])
    wrong = {"currentPassword": "wrong", "newPassword": PASSWORD}
    assert (await directory.ask("POST", "/me/changePassword", wrong, 400))["error"][
        "code"
    ] == "InvalidPassword"
    weak = {"currentPassword": made.password, "newPassword": "weak"}
    assert (await directory.ask("POST", "/me/changePassword", weak, 400))["error"][
        "code"
    ] == "PasswordTooWeak"
    right = {"currentPassword": made.password, "newPassword": PASSWORD}
    await directory.ask("POST", "/me/changePassword", right, 204)
    assert (await directory.ask("GET", "/me"))["userPrincipalName"] == "admin"
    await other.ask("GET", "/me", code=401)
    assert (await sign_in(client, "admin", made.password)).status_code == 401


async def test_who_may_not_change_the_directory(client, plane, directory):
    for login, role in (
        ("cora", CONTRIBUTOR),
        ("rita", READER),
        ("nina", None),
        ("uma", USER_ACCESS_ADMINISTRATOR),
    ):
        made = await directory.user(login, forceChangePasswordNextSignIn=False)
        if role is not None:
            assign(plane, role.guid, made["id"])
        own = Directory(client, await token_of(client, login))
        assert (await own.ask("GET", "/me"))["id"] == made["id"]
        await own.ask("GET", "/users", code=403 if role is None else 200)
        writes = 201 if role is USER_ACCESS_ADMINISTRATOR else 403
        await own.ask("POST", "/groups", {"displayName": f"of {login}"}, writes)
        patch = {"passwordProfile": {"password": "another long password 1"}}
        await own.ask("PATCH", "/users/admin", patch, 204 if writes == 201 else 403)


@pytest.mark.parametrize("how", ["DELETE", "PATCH"])
async def test_who_is_deleted_or_disabled_is_out_at_once(client, plane, directory, how):
    made = await directory.user("alice", forceChangePasswordNextSignIn=False)
    name = assign(plane, READER.guid, made["id"])
    group = await directory.group("readers")
    await directory.join(group, made)
    own = Directory(client, await token_of(client, "alice"))
    await own.ask("GET", "/users")
    body = {"accountEnabled": False} if how == "PATCH" else None
    await directory.ask(how, "/users/alice", body, 204)
    await own.ask("GET", "/users", code=401)
    assert (await sign_in(client, "alice", PASSWORD)).status_code == 401
    with plane.database.snapshot() as conn:
        assert (role_assignments.get(conn, name) is None) is (how == "DELETE")
    members = (await directory.ask("GET", f"/groups/{group['id']}/members"))["value"]
    assert len(members) == (how == "PATCH")
    if how == "DELETE":
        again = await directory.user("alice")
        assert again["id"] != made["id"]


async def test_the_last_owner_stays_whichever_way_it_is_tried(client, plane, directory, admin):
    with plane.database.snapshot() as conn:
        mine = [one.id for one in role_assignments.of_principal(conn, admin) if one.scope == "/"]
    program, group = await directory.program(), await directory.group("owners")
    assign(plane, OWNER.guid, program["id"], "ServicePrincipal")
    assign(plane, OWNER.guid, group["id"], "Group")
    roles = f"/providers/Microsoft.Authorization/roleAssignments/{mine[0]}?api-version=2022-04-01"

    async def last(method: str, path: str, body: Any = None) -> None:
        answer = await client.request(method, path, json=body, headers=directory.headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "LastOwner"), path

    await last("DELETE", f"{GRAPH}/users/admin")
    await last("PATCH", f"{GRAPH}/users/admin", {"accountEnabled": False})
    await last("DELETE", roles)
    # Through the group there is another way to own everything.
    await directory.join(group, {"id": admin})
    assert (await client.delete(roles, headers=directory.headers)).status_code == 200
    await last("DELETE", f"{GRAPH}/groups/{group['id']}")
    await last("DELETE", f"{GRAPH}/groups/{group['id']}/members/{admin}/$ref")
    await last("DELETE", f"{GRAPH}/users/admin")
    other = await directory.user("second")
    await directory.join(group, other)
    await directory.ask("DELETE", "/users/admin", code=204)
    await directory.ask("GET", "/users", code=401)


async def test_groups_hold_no_loops_and_count_through_each_other(directory, plane):
    outer, inner, user = (
        await directory.group("outer"),
        await directory.group("inner"),
        await directory.user("alice"),
    )
    await directory.join(outer, inner)
    await directory.join(inner, user)
    await directory.join(inner, user, 400)
    await directory.join(inner, outer, 400)
    await directory.join(inner, inner, 400)
    everyone = (await directory.ask("GET", f"/groups/{outer['id']}/transitiveMembers"))["value"]
    assert {one["id"] for one in everyone} == {inner["id"], user["id"]}
    within = (await directory.ask("POST", "/users/alice/getMemberGroups", {}))["value"]
    assert set(within) == {inner["id"], outer["id"]}
    asked = {"groupIds": [outer["id"], user["id"]]}
    assert (await directory.ask("POST", f"/directoryObjects/{user['id']}/checkMemberGroups", asked))[
        "value"
    ] == [outer["id"]]
    found = (
        await directory.ask("POST", "/directoryObjects/getByIds", {"ids": [outer["id"], user["id"], "x"]})
    )["value"]
    assert [one["@odata.type"] for one in found] == ["#microsoft.graph.group", "#microsoft.graph.user"]
    await directory.ask("POST", "/groups", {"displayName": "outer"}, 409)


async def test_lists_have_filters_and_pages(directory):
    for login in ("alice", "alfred", "bob"):
        await directory.user(login)
    for told, names in (("startswith(displayName,'AL')", {"alice", "alfred"}), ("userPrincipalName eq 'bob'", {"bob"}),
                        ("accountEnabled eq false", set()),
                        ("startswith(displayName,'al') and userPrincipalName eq 'alice'", {"alice"})):  # fmt: skip
        found = (await directory.ask("GET", f"/users?$filter={told}"))["value"]
        assert {one["userPrincipalName"] for one in found} == names
    program = await directory.program("it's")
    told = f"servicePrincipalNames/any(c:c eq '{program['appId']}') and displayName eq 'it''s'"
    assert len((await directory.ask("GET", f"/servicePrincipals?$filter={told}"))["value"]) == 1
    for bad in ("contains(displayName,'a')", "displayName eq 'a' or displayName eq 'b'", "x", "1 eq 1"):
        await directory.ask("GET", f"/users?$filter={bad}", code=400)
    page = await directory.ask("GET", "/users?$top=3")
    rest = await directory.ask("GET", page["@odata.nextLink"].removeprefix(URL + GRAPH))
    assert len({one["id"] for one in page["value"] + rest["value"]}) == 4
    await directory.ask("GET", "/users?$top=0", code=400)


@pytest.mark.parametrize(
    "body",
    [{}, {"userPrincipalName": "a b", "passwordProfile": {"password": PASSWORD}},
     {"userPrincipalName": "../x", "passwordProfile": {"password": PASSWORD}},
     {"userPrincipalName": "a", "passwordProfile": "x"}, {"userPrincipalName": "a", "passwordProfile": {"password": 1}},
     {"userPrincipalName": "11111111-1111-4111-8111-111111111111", "passwordProfile": {"password": PASSWORD}},
     {"userPrincipalName": "a", "displayName": "\x1b[2J", "passwordProfile": {"password": PASSWORD}}],
)  # fmt: skip
async def test_users_that_cannot_be(directory, body):
    await directory.ask("POST", "/users", body, 400)


async def test_secrets_are_in_no_answer_twice_and_in_no_record(client, directory, plane):
    await directory.user("alice")
    program = await directory.program()
    made = await directory.ask("POST", f"/applications/{program['appId']}/addPassword", {})
    assert (await secret_grant(client, program["appId"], made["secretText"])).status_code == 200
    await secret_grant(client, program["appId"], "canary-4711")
    shown = json.dumps(
        [await directory.ask("GET", path) for path in ("/users", "/applications", "/servicePrincipals")]
    )
    with plane.database.snapshot() as conn:
        records = json.dumps(list(audit.records(conn)))
    for secret in (made["secretText"], PASSWORD, "canary-4711"):
        assert secret not in shown + records
    assert '"wherry/directory/credential-added"' in records
    assert made["hint"] == made["secretText"][:3]


async def test_a_program_signs_in_by_basic_and_by_resource_and_asks_for_one_thing(client, directory, clock):
    program = await directory.program()
    secret = (await directory.ask("POST", f"/servicePrincipals/{program['id']}/addPassword", {}))[
        "secretText"
    ]
    told = base64.b64encode(f"{program['appId']}:{secret}".encode()).decode()
    form = {"grant_type": "client_credentials", "resource": "https://management.azure.com"}
    basic = {"Authorization": f"Basic {told}"}
    done = await client.post("/adfs/oauth2/token", data=form, headers=basic)
    assert done.status_code == 200, done.text
    assert "refresh_token" not in done.json()
    both = await client.post("/adfs/oauth2/token", data={**form, "client_secret": secret}, headers=basic)
    assert both.json()["error"] == "invalid_request"
    broken = await client.post("/adfs/oauth2/token", data=form, headers={"Authorization": "Basic !"})
    assert broken.json()["error"] == "invalid_request"
    for scope in (f"{URL}/user", f"{URL}/agent/.default", f"{URL}/agent.register"):
        refused = await secret_grant(client, program["appId"], secret, scope=scope)
        assert refused.json()["error"] in ("invalid_scope", "invalid_resource"), scope
    clock.now += 400 * 86400
    late = await secret_grant(client, program["appId"], secret)
    assert late.json()["error_codes"] == [7000222]


async def test_guesses_of_a_secret_are_few_and_lock_nobody_elsewhere_out(client, directory, plane):
    program, other = await directory.program(), await directory.program("other")
    secret = (await directory.ask("POST", f"/servicePrincipals/{program['id']}/addPassword", {}))[
        "secretText"
    ]
    fine = (await directory.ask("POST", f"/servicePrincipals/{other['id']}/addPassword", {}))["secretText"]
    answers = [
        (await secret_grant(client, program["appId"], f"guess {number}")).status_code for number in range(21)
    ]
    assert answers == [401] * 20 + [429]
    assert (await secret_grant(client, program["appId"], secret)).status_code == 429
    assert (await secret_grant(client, other["appId"], fine)).status_code == 200
    plane.clock.now += 601
    assert (await secret_grant(client, program["appId"], secret)).status_code == 200


async def test_a_locked_account_opens_with_a_new_password(directory, plane, clock):
    await directory.user("alice")
    with plane.database.transaction() as conn:
        for _ in range(6):
            users.record_attempt(conn, "alice", "192.0.2.1", right=False, now=clock.now)
        assert users.verifier_of(conn, "alice", clock.now, 86400.0) == (None, None)
    await directory.ask(
        "PATCH", "/users/alice", {"passwordProfile": {"password": "another long password 2"}}, 204
    )
    with plane.database.snapshot() as conn:
        assert users.verifier_of(conn, "alice", clock.now, 86400.0)[1] is not None
