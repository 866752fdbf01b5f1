"""Stored access policies on a real Blob server: what a SAS can do, when it ends, and that others' policies stay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import AccessPolicy, ContainerClient
from sqlalchemy import select, update

from tests.azurite import Azurite
from tests.unit.control.stage import ACCOUNT, Stage
from wherry.control import deployment
from wherry.control.broker import blob
from wherry.control.broker.blob_policy import BlobPolicy
from wherry.control.broker.credentials import Broker
from wherry.control.broker.port import NoSlot
from wherry.control.broker.sources import DeploymentSecrets
from wherry.control.db.tables_credentials import run_credentials as table
from wherry.control.db.tables_ledger import partitions
from wherry.control.db.tables_runs import runs
from wherry.control.deployment import Deployment
from wherry.control.services import credentials, vault
from wherry.control.services.accounts import Account
from wherry.control.settings import Settings
from wherry.model.errors import RunError, Unavailable

HOUR = 3600.0


@pytest.fixture
def account(azurite: Azurite) -> Account:
    return Account("id", azurite.url, azurite.account, azurite.key)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Deployment]:
    opened = deployment.create_or_open(tmp_path / "state")
    yield opened
    opened.close()


def holder(account: Account, container: str, sas: str) -> ContainerClient:
    return ContainerClient(account.endpoint, container, credential=sas, retry_total=0)


def names(container: ContainerClient) -> set[str]:
    return {one.id for one in container.get_container_access_policy()["signed_identifiers"]}


def test_a_sas_does_what_its_policy_says_and_no_more(account: Account, azurite: Azurite) -> None:
    container, other = azurite.container(), azurite.container()
    blob.put(account, container.container_name, "p", "rwl", time.time() + HOUR)
    sas = blob.sign(account, container.container_name, "p")
    assert "sp=" not in sas
    assert "se=" not in sas
    with holder(account, container.container_name, sas) as client:
        client.upload_blob("a", b"x")
        assert [one.name for one in client.list_blobs()] == ["a"]
        for deed in (lambda: client.delete_blob("a"), client.delete_container):
            with pytest.raises(HttpResponseError) as refused:
                deed()
            assert refused.value.status_code == 403
    assert not blob.works(account, other.container_name, sas)

    blob.put(account, container.container_name, "p", "rwdl", time.time() + HOUR)
    with holder(account, container.container_name, sas) as client:
        client.delete_blob("a")
    blob.drop(account, container.container_name, "p")
    assert blob.wait_until(account, container.container_name, sas, 5, open_=False)
    blob.drop(account, container.container_name, "p")


def test_a_policy_ends_by_itself(account: Account, azurite: Azurite) -> None:
    container = azurite.container().container_name
    blob.put(account, container, "p", "rwl", time.time() - 1)
    sas = blob.sign(account, container, "p")
    assert not blob.works(account, container, sas)
    assert not blob.wait_until(account, container, sas, 0.3, open_=True)
    blob.put(account, container, "p", "rwl", time.time() + HOUR)
    assert blob.works(account, container, sas)


def test_five_policies_are_the_most_and_none_is_lost(account: Account, azurite: Azurite) -> None:
    container = azurite.container()
    until = datetime(2099, 1, 1, tzinfo=UTC)
    foreign = {f"f{n}": AccessPolicy("r", until, until) for n in range(5)}
    container.set_container_access_policy(foreign, public_access="container")
    with pytest.raises(NoSlot):
        blob.put(account, container.container_name, "p", "rwl", time.time() + HOUR)
    blob.drop(account, container.container_name, "p")
    assert names(container) == set(foreign)
    foreign.pop("f2")
    container.set_container_access_policy(foreign, public_access="container")
    blob.put(account, container.container_name, "p", "rwl", time.time() + HOUR)
    assert names(container) == {*foreign, "p"}
    told = container.get_container_access_policy()
    assert told["public_access"] == "container"
    kept = next(one.access_policy for one in told["signed_identifiers"] if one.id == "f1")
    assert (kept.permission, kept.start) == ("r", kept.expiry)


def test_what_is_wrong_with_a_back_end(account: Account, azurite: Azurite) -> None:
    container = azurite.container().container_name
    with pytest.raises(RunError) as missing:
        blob.put(account, "no-such-container", "p", "rwl", time.time() + HOUR)
    assert missing.value.code == "AZSM1022"
    blob.drop(account, "no-such-container", "p")
    wrong = Account("id", azurite.url, azurite.account, "d3Jvbmcga2V5IG9mIHRoZSBhY2NvdW50")
    with pytest.raises(RunError) as refused:
        blob.put(wrong, container, "p", "rwl", time.time() + HOUR)
    assert refused.value.code == "AZSM1024"
    away = Account("id", "http://127.0.0.1:9", azurite.account, azurite.key)
    with pytest.raises(Unavailable):
        blob.put(away, container, "p", "rwl", time.time() + HOUR)


def broker_of(opened: Deployment, settings: Settings, clock: Callable[[], float]) -> Broker:
    """As a control plane has it, with the one driver."""
    driver = BlobPolicy(DeploymentSecrets(opened.database, opened.master, clock), settings.probe_seconds)
    return Broker(opened.database, opened.master, settings, clock, {driver.facts.name: driver})


async def test_two_brokers_change_one_container(opened: Deployment, azurite: Azurite) -> None:
    """As two processes would: each has its own locks in memory, the database keeps them apart."""
    container = azurite.container()
    ids = prepared(opened, azurite, container.container_name, 5)
    settings = Settings(policy_retry_seconds=0.01)
    both = [broker_of(opened, settings, time.time) for _ in range(2)]

    await asyncio.gather(*(both[at % 2].open(run) for at, run in enumerate(ids)))
    assert len(names(container)) == 5
    with opened.database.transaction() as conn:
        conn.execute(update(runs).values(status="Failed"))
    assert sum(await asyncio.gather(*(one.withdraw() for one in both))) >= 5
    assert names(container) == set()
    with opened.database.snapshot() as conn:
        states = conn.execute(select(table.c.state)).scalars().all()
    assert set(states) == {credentials.WITHDRAWN}


async def test_a_withdrawal_that_fails_is_tried_again(opened: Deployment, azurite: Azurite) -> None:
    container = azurite.container()
    (run,) = prepared(opened, azurite, container.container_name, 1)
    broker = broker_of(opened, Settings(policy_retry_seconds=0.01), time.time)
    await broker.open(run)
    with opened.database.transaction() as conn:
        conn.execute(update(runs).values(status="Failed"))
        facts = conn.execute(select(table.c.told)).scalar_one()
        conn.execute(update(table).values(told=facts | {"endpoint": "http://127.0.0.1:9"}))
    assert await broker.withdraw() == 0
    with opened.database.transaction() as conn:
        row = conn.execute(select(table)).one()
        assert (row.state, row.failures) == (credentials.WITHDRAWING, 1)
        conn.execute(update(table).values(told=facts, tried_at=0.0))
    assert await broker.withdraw() == 1
    assert names(container) == set()


async def test_a_run_that_ended_while_its_policy_was_opened_gets_none(
    opened: Deployment, azurite: Azurite
) -> None:
    container = azurite.container()
    (run,) = prepared(opened, azurite, container.container_name, 1)
    broker = broker_of(opened, Settings(), time.time)
    with opened.database.transaction() as conn:
        conn.execute(update(runs).values(status="Canceled"))
    with pytest.raises(RunError):
        await broker.open(run)
    assert names(container) == set()


async def test_a_policy_is_moved_on_while_a_lease_lives(opened: Deployment, azurite: Azurite) -> None:
    container = azurite.container()
    (run,) = prepared(opened, azurite, container.container_name, 1)
    now = time.time()
    clock = [now]
    settings = Settings(credential_seconds=60, credential_margin_seconds=30)
    broker = broker_of(opened, settings, lambda: clock[0])
    await broker.open(run)
    (first,) = container.get_container_access_policy()["signed_identifiers"]
    clock[0] = now + 40
    assert await broker.extend() == 0
    with opened.database.transaction() as conn:
        conn.execute(update(partitions).values(expires_at=now + 100, lease="l"))
    assert await broker.extend() == 1
    (policy,) = container.get_container_access_policy()["signed_identifiers"]
    assert policy.id == first.id
    assert policy.access_policy.expiry > first.access_policy.expiry


def prepared(opened: Deployment, azurite: Azurite, container: str, count: int) -> list[str]:
    """Runs into places of their own in one container."""
    with opened.database.transaction() as conn:
        stage = Stage(conn, time.time())
        stage.agent("a")
        told = {"blobEndpoint": azurite.url, "accountName": azurite.account, "accountKey": azurite.key}
        stage.put(ACCOUNT, {"wherry": told}, location="x")
        vault.put_secret(conn, opened.master, ACCOUNT, azurite.key, "test", stage.now)
        return [
            stage.start(stage.job(container=container, agentName="a", targetSubpath=f"p{n}"))
            for n in range(count)
        ]
