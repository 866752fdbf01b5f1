"""Reading the trail by the API: who may, what filters select, pages, and a file that proves itself."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.exc import OperationalError

from tests.unit.control.conftest import START
from tests.unit.control.flows import signed_in
from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.services import audit_trail, role_assignments, users
from wherry.trust import transcript
from wherry.trust.roles import MOVER_AUDITOR, OWNER, READER
from wherry.trust.roles import MOVER_OPERATOR as OPERATOR

BASE = "/providers/Microsoft.Insights/eventtypes/audit"
VERSION = "api-version=2015-04-01"


@pytest.fixture
async def token(client, made):
    body = await signed_in(client, made.password)
    return {"authorization": f"Bearer {body['access_token']}"}


@pytest.fixture
def filled(plane):
    """Forty records, a minute apart, by two people."""
    with plane.database.transaction() as conn:
        for number in range(40):
            record = Record(
                "Wanted/write" if number % 2 else "other/write", "denied" if number % 4 == 0 else "allowed",
                scope=f"/subscriptions/s/resourceGroups/g{number % 3}", actor=f"oid-{number % 2}", actor_kind="user",
                actor_name="Alice" if number % 2 else "bob", source="192.0.2.9", request_id=f"r{number}",
            )  # fmt: skip
            audit.append(conn, record, START - 4000 + number * 60)


async def get(client, token, path, expected=200):
    answer = await client.get(path, headers=token)
    assert answer.status_code == expected, answer.text
    return answer


async def listed(client, token, query=""):
    """All pages."""
    path, found, pages = f"{BASE}/values?{VERSION}{query}", [], 0
    while path:
        page = (await get(client, token, path)).json()
        found += page["value"]
        path, pages = page.get("nextLink", ""), pages + 1
    return found, pages


SELECTED = {
    "&who=ALICE&action=*/write": 20,
    "&who=oid-0": 20,
    "&action=wanted/*": 20,
    "&result=denied&action=*write": 10,
    "&scope=/subscriptions/S/resourceGroups/g1": 13,
    "&scope=/subscriptions/s/resourceGroups/g": 0,
    "&source=192.0.2.9&request=r7": 1,
    "&until=2027-01-15T07:00:00Z&source=192.0.2.9": 7,
}


@pytest.mark.usefixtures("filled")
async def test_filters(client, token):
    for query, count in SELECTED.items():
        found, _ = await listed(client, token, query)
        assert len([one for one in found if one["action"].endswith("write")]) == count, query


@pytest.mark.usefixtures("filled")
async def test_pages_hold_every_record_once(client, token, monkeypatch):
    whole, _ = await listed(client, token)
    assert [one["seq"] for one in whole] == list(range(len(whole), 0, -1))
    small, pages = await listed(client, token, "&$top=7")
    assert (small, pages > 5) == (whole, True)
    monkeypatch.setattr(audit_trail, "SCANNED", 5)
    rare, pages = await listed(client, token, "&request=r7")
    assert (len(rare), pages > 5) == (1, True)


@pytest.mark.usefixtures("filled")
async def test_one_record(client, token):
    one = (await get(client, token, f"{BASE}/values/2?{VERSION}")).json()
    assert (one["seq"], one["action"], one["time"]) == (2, "Wanted/write", "2027-01-15T06:54:20.000000Z")
    assert len(one["hash"]) == 64
    for name in ("0", "999999", "x", "-1", "%D9%A1", "9" * 30):
        await get(client, token, f"{BASE}/values/{name}?{VERSION}", 404)


async def test_what_cannot_be_asked(client, token):
    for query in (
        "since=yesterday", "result=good", "who=" + "x" * 600, "$top=0", "$top=1001", "$top=x", "$skiptoken=abc",
    ):  # fmt: skip
        await get(client, token, f"{BASE}/values?{VERSION}&{query}", 400)


async def test_only_who_has_a_role_on_everything_may_read_it(client, token, plane, admin):
    with plane.database.transaction() as conn:
        other = users.create(conn, "other", "Other", "password", 0.0)
        role_assignments.create(
            conn, role=OWNER.guid, principal_id=other, principal_type="User", scope="/", by=admin, now=0.0
        )
    below = f"/subscriptions/{plane.subscription}"
    for role, scope, expected in (
        (MOVER_AUDITOR, "/", 200), (READER, "/", 200), (OPERATOR, "/", 403), (MOVER_AUDITOR, below, 403),
        (OWNER, below, 403),
    ):  # fmt: skip
        with plane.database.transaction() as conn:
            for one in role_assignments.of_principal(conn, admin):
                role_assignments.remove(conn, one.id)
            role_assignments.create(
                conn,
                role=role.guid,
                principal_id=admin,
                principal_type="User",
                scope=scope,
                by=admin,
                now=0.0,
            )
        for path in ("values", "values/1", "export"):
            await get(client, token, f"{BASE}/{path}?{VERSION}", expected)
    await get(client, {}, f"{BASE}/values?{VERSION}", 401)


@pytest.mark.usefixtures("filled")
async def test_an_export_is_recorded_and_proves_itself(client, token, opened, monkeypatch):
    monkeypatch.setattr(audit_trail, "BATCH", 7)
    ca = opened.ca_file.read_bytes()
    whole = (await get(client, token, f"{BASE}/export?{VERSION}")).text.splitlines()
    verdict = transcript.verify(whole, ca)
    assert verdict.whole
    assert list(transcript.entries(whole))[-1]["action"] == "wherry/audit/export"
    some = (await get(client, token, f"{BASE}/export?{VERSION}&who=alice")).text.splitlines()
    verdict = transcript.verify(some, ca, transcript.last_checkpoint(whole, ca))
    assert (verdict.whole, verdict.records) == (True, 20)
    assert "bob" not in "".join(some)
    part = (await get(client, token, f"{BASE}/export?{VERSION}&since=2027-01-15T07:10:00Z")).text.splitlines()
    verdict = transcript.verify(part, ca)
    assert (verdict.whole, verdict.first > 10) == (True, True)
    await get(client, token, f"{BASE}/export?{VERSION}&until=2020-01-01", 404)


async def test_attack_69_what_cannot_be_recorded_is_not_done(client, token, plane, monkeypatch):
    """A disk that is full, seen from the trail: the write is refused, and nothing of it is there."""
    path = f"/subscriptions/{plane.subscription}/resourceGroups/g?api-version=2024-11-01"

    def full(*_args):
        raise OperationalError("INSERT INTO audit", {}, Exception("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(audit, "append", full)
        answer = await client.put(path, headers=token, json={"location": "local"})
        assert answer.status_code == 503
    await get(client, token, path, 404)
    answer = await client.put(path, headers=token, json={"location": "local"})
    assert answer.status_code == 201


async def test_a_revoked_token_is_counted_for_whom_it_was(client, token, plane, admin):
    from wherry.control.services import principals

    with plane.database.transaction() as conn:
        principals.end_sign_ins(conn, admin)
    await get(client, token, f"{BASE}/values?{VERSION}", 401)
    with plane.database.transaction() as conn:
        plane.counters.flush(conn, plane.clock(), everything=True)
        last = [one for one in audit.records(conn) if one["result"] == "counted"][-1]
    assert (last["actor"], last["details"]["result"]) == (admin, "denied")
    assert json.dumps(last)
