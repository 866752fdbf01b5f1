"""Rules that resources and runs have for each other, on a database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from wherry.control.caller import Caller
from wherry.control.db import metadata
from wherry.control.db.engine import Database
from wherry.control.db.tables_credentials import run_credentials
from wherry.control.db.tables_ledger import run_work
from wherry.control.db.tables_runs import runs
from wherry.control.services import accounts, resource_store, resources, run_view, vault
from wherry.control.services.resources import Conditions
from wherry.control.services.types.registry import target
from wherry.model.errors import ApiError
from wherry.trust.keys import MasterKey
from wherry.trust.principals import FULL_SCOPE, Principal

GROUP = "/subscriptions/s/resourceGroups/g"
MOVER = f"{GROUP}/providers/Microsoft.StorageMover/storageMovers/m"
JOB = f"{MOVER}/projects/p/jobDefinitions/j"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/archive"
CONTAINER = f"{ACCOUNT}/blobServices/default/containers/photos"
MASTER = MasterKey.generate()
KEY = "c2VjcmV0IGtleSBvZiB0aGUgYWNjb3VudA=="


class Clock:
    """A caller whose time goes on by one second with each request."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.principal = Principal("user", "oid", "tenant", "someone", frozenset({FULL_SCOPE}))

    @property
    def caller(self) -> Caller:
        self.now += 1
        return Caller(self.principal, "request", self.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def conn(tmp_path: Path, clock: Clock) -> Iterator[Connection]:
    """A database with a mover, two folders, a project and a job."""
    database = Database(f"sqlite:///{tmp_path / 'wherry.db'}")
    with database.transaction() as made:
        metadata.complete().create_all(made)
        put(made, clock, GROUP, location="local")
        put(made, clock, MOVER, location="local")
        put(made, clock, f"{MOVER}/endpoints/src", {"endpointType": "LocalMount", "path": "/a"})
        put(made, clock, f"{MOVER}/endpoints/dst", {"endpointType": "LocalMount", "path": "/b"})
        put(made, clock, f"{MOVER}/projects/p")
        put(made, clock, JOB, {"copyMode": "Additive", "sourceName": "src", "targetName": "dst"})
        told = {"blobEndpoint": "https://a.example", "accountKey": KEY}
        body = {"location": "local", "properties": {"wherry": told}}
        accounts.put(made, clock.caller, target(ACCOUNT), body, Conditions(), MASTER)
        put(made, clock, CONTAINER)
        yield made
    database.close()


def put(
    conn: Connection, clock: Clock, resource_id: str, properties: dict[str, Any] | None = None, **more: Any
) -> Any:
    body = {"properties": properties or {}, **more}
    return resources.put(conn, clock.caller, target(resource_id), body).body


def delete(conn: Connection, clock: Clock, resource_id: str) -> Any:
    return resources.delete(conn, clock.caller, target(resource_id))


def add_run(conn: Connection, number: int, scope: str = f"{MOVER}/endpoints/dst", **columns: Any) -> str:
    """A run of the job as `services.runs` writes one; its resource id."""
    guid = f"00000000-0000-4000-8000-{number:012}"
    place = {"kind": "LocalMount", "location": "/a", "subpath": None}
    values: dict[str, Any] = {
        "id": guid, "key": f"{JOB}/jobRuns/{guid}".lower(), "resource_id": f"{JOB}/jobRuns/{guid}",
        "job_key": JOB.lower(), "mover_key": MOVER.lower(), "name": guid, "status": "Running",
        "scan_status": "Scanning", "options": {"mode": "Mirror"}, "source": place, "target": place,
        "source_name": "src", "target_name": "dst", "source_id": f"{MOVER}/endpoints/src",
        "target_id": f"{MOVER}/endpoints/dst", "job_properties": {"copyMode": "Mirror"},
        "source_properties": {"endpointType": "LocalMount"}, "target_properties": {"endpointType": "LocalMount"},
        "created_at": 1000.0 + number, "created_by": "someone", "updated_at": 1000.0 + number,
    }  # fmt: skip
    conn.execute(insert(runs).values(values | columns))
    conn.execute(insert(run_work).values(run=guid, scope=scope, progressed_at=0.0))
    return str(values["resource_id"])


def refusal(conn: Connection, clock: Clock, resource_id: str) -> str:
    with pytest.raises(ApiError) as refused:
        delete(conn, clock, resource_id)
    assert refused.value.status == 409
    return refused.value.code


def test_what_a_run_uses_stays_until_it_ends(conn: Connection, clock: Clock) -> None:
    add_run(conn, 1, status="Canceling")
    assert refusal(conn, clock, JOB) == "JobRunActive"
    assert refusal(conn, clock, f"{MOVER}/endpoints/SRC") == "EndpointInUse"
    assert refusal(conn, clock, f"{MOVER}/endpoints/dst") == "EndpointInUse"
    for above in (f"{MOVER}/projects/p", MOVER, GROUP):
        refusal(conn, clock, above)
    conn.execute(runs.update().values(status="Failed"))
    assert delete(conn, clock, MOVER) is not None
    assert conn.execute(select(runs)).all() == []
    assert conn.execute(select(run_work)).all() == []


def test_a_back_end_stays_while_access_to_it_stands(conn: Connection, clock: Clock) -> None:
    run = add_run(conn, 1, CONTAINER)
    assert refusal(conn, clock, ACCOUNT) == "StorageAccountInUse"
    assert refusal(conn, clock, CONTAINER) == "StorageAccountInUse"
    conn.execute(runs.update().values(status="Succeeded"))
    conn.execute(
        insert(run_credentials).values(
            id="policy", run=run.rpartition("/")[2], driver="blob-sas", place="https://a.example/photos",
            scope=CONTAINER, access="write", prefix=b"", told={}, state="withdrawing", expires_at=clock.now + 60,
        )
    )  # fmt: skip
    assert refusal(conn, clock, CONTAINER) == "StorageAccountInUse"
    body = {
        "location": "local",
        "properties": {"wherry": {"blobEndpoint": "https://b.example", "accountKey": KEY}},
    }
    with pytest.raises(ApiError) as moved:
        accounts.put(conn, clock.caller, target(ACCOUNT), body, Conditions(), MASTER)
    assert moved.value.code == "StorageAccountInUse"
    conn.execute(run_credentials.update().values(state="withdrawn"))
    assert delete(conn, clock, ACCOUNT) is not None
    assert resource_store.find(conn, CONTAINER) is None


def test_the_key_of_an_account_is_in_the_vault_only(conn: Connection, clock: Clock) -> None:
    found = accounts.load(conn, MASTER, ACCOUNT.upper().replace("/SUB", "/sub"))
    assert (found.endpoint, found.name, found.key) == ("https://a.example", "archive", KEY)
    assert found.container_url("photos") == "https://a.example/photos"
    assert KEY not in repr(found)
    assert KEY not in str(resource_store.find(conn, ACCOUNT))
    accounts.patch(conn, clock.caller, target(ACCOUNT), {"tags": {"a": "b"}}, Conditions(), MASTER)
    assert accounts.load(conn, MASTER, ACCOUNT).key == KEY
    renamed = {"properties": {"wherry": {"accountName": "other"}}}
    with pytest.raises(ApiError) as refused:
        accounts.patch(conn, clock.caller, target(ACCOUNT), renamed, Conditions(), MASTER)
    assert refused.value.target == "properties.wherry.accountKey"
    rekeyed = {"properties": {"wherry": {"accountKey": "A" * 24}}}
    accounts.patch(conn, clock.caller, target(ACCOUNT), rekeyed, Conditions(), MASTER)
    assert accounts.load(conn, MASTER, ACCOUNT).key == "A" * 24
    delete(conn, clock, ACCOUNT)
    with pytest.raises(ApiError) as gone:
        vault.get_secret(conn, MASTER, ACCOUNT)
    assert gone.value.code == "SecretNotFound"


def test_a_secret_opens_only_under_its_own_name(conn: Connection) -> None:
    vault.put_secret(conn, MASTER, "/A/b", "first", "oid", 1.0)
    vault.put_secret(conn, MASTER, "/a/B", "second", "oid", 2.0)
    assert vault.get_secret(conn, MASTER, "/a/b") == "second"
    with pytest.raises(Exception, match="another master key"):
        vault.get_secret(conn, MasterKey.generate(), "/a/b")


def test_a_job_tells_its_latest_run(conn: Connection, clock: Clock) -> None:
    assert "latestJobRunName" not in resources.get(conn, target(JOB)).body["properties"]
    add_run(conn, 1, status="Failed")
    latest = add_run(conn, 2)
    told = resources.get(conn, target(JOB)).body["properties"]
    assert (told["latestJobRunResourceId"], told["latestJobRunStatus"]) == (latest, "Running")


def test_a_queued_run_leaves_out_what_it_does_not_have(conn: Connection) -> None:
    run = add_run(conn, 1, status="Queued", scan_status="NotStarted", options={})
    row = run_view.get_run(conn, run.upper())
    assert row is not None
    shown = run_view.render_run(row)
    assert shown["type"] == "microsoft.storagemover/storagemovers/projects/jobdefinitions/jobruns"
    assert set(shown["properties"]) == {
        "status", "lastStatusUpdate", "sourceName", "sourceResourceId", "sourceProperties", "targetName",
        "targetResourceId", "targetProperties", "jobDefinitionProperties", "provisioningState",
    }  # fmt: skip


def test_a_run_that_went_on_tells_all(conn: Connection) -> None:
    run = add_run(
        conn, 1, status="Failed", scan_status="Completed", agent_name="Nas", started_at=1000.0, ended_at=1060.5,
        counters={"Scanned": [3, 30], "Transferred": [2, 20], "Failed": [1, 10], "Deleted": [4, 0]},
        error_code="AZSM1046", error_message="Items failed.", warnings=[{"code": "AZSM2021", "message": "w"}],
    )  # fmt: skip
    row = run_view.get_run(conn, run)
    assert row is not None
    told = run_view.render_run(row)["properties"]
    assert (told["itemsScanned"], told["bytesScanned"], told["itemsExcluded"]) == (3, 30, 0)
    assert (told["itemsTransferred"], told["bytesFailed"]) == (2, 10)
    assert "itemsDeleted" not in told
    assert told["wherry"]["itemsDeleted"] == 4
    assert told["agentResourceId"] == f"{MOVER}/agents/Nas"
    assert told["error"] == {"code": "AZSM1046", "message": "Items failed."}
    assert (told["executionStartTime"], told["executionEndTime"]) == (
        "1970-01-01T00:16:40.000000Z",
        "1970-01-01T00:17:40.500000Z",
    )


def test_runs_come_latest_first_in_pages(conn: Connection) -> None:
    for number in range(1, 6):
        add_run(conn, number, created_at=2000.0 + number // 2)
    whole = run_view.list_runs(conn, JOB.lower())
    seen = []
    after = None
    while page := run_view.list_runs(conn, JOB.lower(), after=after, limit=2):
        seen += [row.id for row in page]
        after = (page[-1].created_at, page[-1].id)
    assert seen == [row.id for row in whole]
    assert len(set(seen)) == 5
    assert seen == [row.id for row in sorted(whole, key=lambda row: (row.created_at, row.id), reverse=True)]


def test_a_list_goes_on_behind_a_name_that_is_gone(conn: Connection, clock: Clock) -> None:
    for name in "abcd":
        put(conn, clock, f"{MOVER}/projects/{name}")
    kind = target(f"{MOVER}/projects/a").type
    first = resources.list_in(conn, target(MOVER), kind, "", 2)
    assert [one["name"] for one in first.items] == ["a", "b"]
    delete(conn, clock, f"{MOVER}/projects/b")
    assert first.after is not None
    second = resources.list_in(conn, target(MOVER), kind, first.after, 3)
    assert ([one["name"] for one in second.items], second.after) == (["c", "d", "p"], None)


def test_ids_of_others_with_the_same_beginning_are_left_alone(conn: Connection, clock: Clock) -> None:
    for name in ("m2", "m-2", "M_"):
        put(conn, clock, f"{GROUP}/providers/Microsoft.StorageMover/storageMovers/{name}", location="local")
    delete(conn, clock, MOVER)
    left = resources.list_in(conn, target(GROUP), target(MOVER).type, "", 9)
    assert {one["name"] for one in left.items} == {"m2", "m-2", "M_"}
