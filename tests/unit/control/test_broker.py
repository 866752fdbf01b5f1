"""The broker with a driver that keeps all in memory: what it asks of a driver when, and what it writes down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.unit.control.stage import ACCOUNT, Stage
from wherry.control import audit, deployment, master_key
from wherry.control.broker.credentials import Broker
from wherry.control.broker.port import Issued, Json, Material, NoSlot, Wanted
from wherry.control.db.tables_credentials import run_credentials
from wherry.control.db.tables_runs import runs
from wherry.control.deployment import Deployment
from wherry.control.services import credentials
from wherry.control.settings import Settings
from wherry.model.drivers import BLOB_SAS, DriverFacts
from wherry.model.errors import ApiError, RunError, Unavailable
from wherry.trust.keys import MasterKey

SECRET = "canary-of-the-credential"


class Memory:
    """Who is let in, by name; `trouble` comes instead of an answer."""

    def __init__(self) -> None:
        self.standing: dict[str, float] = {}
        self.trouble: Exception | None = None
        self.asked: list[str] = []

    @property
    def facts(self) -> DriverFacts:
        return BLOB_SAS

    def issue(self, wanted: Wanted, until: float) -> Issued:
        self._meet("issue")
        self.standing[wanted.id] = until
        return Issued(Material(f"{SECRET}-{len(self.asked)}", "me"), until)

    def renew(self, wanted: Wanted, material: Material, until: float) -> Issued:
        self._meet("renew")
        assert wanted.id in self.standing
        self.standing[wanted.id] = until
        return Issued(material, until)

    def withdraw(self, wanted: Wanted, material: Material) -> None:
        self._meet("withdraw")
        self.standing.pop(wanted.id, None)

    def names(self, told: Json) -> list[str]:
        self._meet("names")
        assert told["container"] == "photos"
        return [*self.standing, "somebody-elses"]

    def _meet(self, what: str) -> None:
        self.asked.append(what)
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Deployment]:
    made = deployment.create_or_open(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def run(opened: Deployment) -> str:
    with opened.database.transaction() as conn:
        stage = Stage(conn, time.time())
        stage.agent("a")
        started = stage.start(stage.job(container="photos", agentName="a", targetSubpath="2026"))
        stage.admit(started, "a")
        return started


def broker(opened: Deployment, memory: Memory, clock: Any = time.time) -> Broker:
    settings = Settings(policy_retry_seconds=0.001)
    return Broker(opened.database, opened.master, settings, clock, {BLOB_SAS.name: memory})


def oid(opened: Deployment) -> str:
    with opened.database.snapshot() as conn:
        found = conn.exec_driver_sql("SELECT principal_id FROM grants").scalar_one()
    return str(found)


def end(opened: Deployment) -> None:
    with opened.database.transaction() as conn:
        conn.execute(update(runs).values(status="Failed"))


def row(opened: Deployment) -> Any:
    with opened.database.snapshot() as conn:
        return conn.execute(select(run_credentials)).one()


async def test_what_an_agent_is_given_lies_sealed_and_goes_with_the_access(
    opened: Deployment, memory: Memory, run: str
) -> None:
    material, until = await broker(opened, memory).credential(run, oid(opened))
    assert (material.identity, material.secret) == ("me", f"{SECRET}-1")
    assert until == memory.standing[row(opened).id]
    assert SECRET not in repr(material)
    # Another process hands out the same, without asking the back end.
    assert (await broker(opened, memory).credential(run, oid(opened)))[0] == material
    assert memory.asked == ["issue"]
    assert SECRET.encode() not in row(opened).sealed
    with opened.database.transaction() as conn:
        master_key.reseal(conn, opened.master, other := MasterKey.generate())
        known = credentials.of_run(conn, run)
        assert known is not None
        assert known.material(other) == material
        assert (known.wanted.prefix, known.wanted.access) == (b"2026", "write")
    end(opened)
    assert (
        await Broker(opened.database, other, Settings(), time.time, {BLOB_SAS.name: memory}).withdraw() == 1
    )
    assert (row(opened).state, row(opened).sealed, memory.standing) == ("withdrawn", None, {})
    with pytest.raises(RunError, match="The run has ended"):
        await broker(opened, memory).credential(run, oid(opened))
    with opened.database.snapshot() as conn:
        trail = [one["action"] for one in audit.records(conn, limit=1000)]
    assert trail.count("wherry/credential-opened") == trail.count("wherry/credential-withdrawn") == 1


async def test_a_run_that_finds_no_room_leaves_no_row(opened: Deployment, memory: Memory, run: str) -> None:
    memory.trouble = NoSlot()
    with pytest.raises(NoSlot):
        await broker(opened, memory).open(run)
    with opened.database.snapshot() as conn:
        assert conn.execute(select(run_credentials)).first() is None


async def test_a_withdrawal_waits_for_the_back_end_and_ends_with_the_expiry(
    opened: Deployment, memory: Memory, run: str
) -> None:
    now = [time.time()]
    here = broker(opened, memory, lambda: now[0])
    await here.open(run)
    end(opened)
    for trouble in (
        Unavailable("down"),
        RunError("AZSM1024"),
        ApiError(404, "StorageAccountNotFound", "gone"),
    ):
        memory.trouble = trouble
        assert await here.withdraw() == 0
        now[0] += 1
    assert (row(opened).state, row(opened).failures) == ("withdrawing", 3)
    now[0] += 1000
    assert await here.withdraw() == 1
    assert row(opened).state == "withdrawn"


async def test_what_no_books_know_is_ended_and_what_others_made_stays(
    opened: Deployment, memory: Memory, run: str
) -> None:
    await broker(opened, memory).open(run)
    (mine,) = memory.standing
    mark = mine[: len("wherry-12345678-")]
    memory.standing |= {f"{mark}forgotten": 1.0, "wherry-87654321-another": 1.0}
    now = [time.time()]
    here = broker(opened, memory, lambda: now[0])
    memory.trouble = Unavailable("down")
    assert await here.sweep() == 0
    memory.trouble = None
    now[0] += 1
    assert await here.sweep() == 1
    assert set(memory.standing) == {mine, "wherry-87654321-another"}
    memory.asked.clear()
    now[0] += 1
    assert await here.sweep() == 0
    assert memory.asked == []


async def test_a_driver_that_is_not_there_lets_nobody_in(opened: Deployment, run: str) -> None:
    none = Broker(opened.database, opened.master, Settings(), time.time, {})
    with pytest.raises(RunError, match="no driver 'blob-sas'"):
        await none.open(run)
    assert ACCOUNT.lower() in row(opened).told["accountKey"]
