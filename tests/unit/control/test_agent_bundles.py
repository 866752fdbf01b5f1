"""Support bundles that agents are asked for: one at a time, whole or not at all, gone when they are over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.control.conftest import START
from tests.unit.control.stage import MOVER, Stage
from wherry.control.bundles import BundleStore
from wherry.control.plane import Plane
from wherry.control.refusals import NotTheirs
from wherry.control.services import agent_bundles, resource_store
from wherry.control.services.resource_store import Resource
from wherry.model.errors import ApiError

ID = "11111111-1111-4111-8111-111111111111"
KEEP = 1000.0
LIMIT = 100


@pytest.fixture
def stage(plane: Plane) -> Iterator[Stage]:
    with plane.database.transaction() as conn:
        yield Stage(conn, START)


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "bundles")


def resource(stage: Stage, name: str) -> Resource:
    found = resource_store.find(stage.conn, f"{MOVER}/agents/{name}")
    assert found is not None
    return found


def ask(stage: Stage, name: str = "a") -> str:
    stage.agent(name)
    told = agent_bundles.request(stage.conn, stage.caller, resource(stage, name), KEEP)
    assert told["state"] == "Requested"
    return str(told["id"])


def bring(stage: Stage, bundle: str, name: str = "a") -> None:
    agent_bundles.brought(stage.conn, stage.agent(name), bundle, stage.now, KEEP, 3, "0" * 64)


def test_an_agent_is_asked_for_one_until_it_has_brought_it(stage: Stage) -> None:
    first = ask(stage)
    assert ask(stage) == first
    agent = stage.agent("a")
    assert agent_bundles.wanted(stage.conn, agent.key) == first
    bring(stage, first)
    assert agent_bundles.wanted(stage.conn, agent.key) is None
    (told,) = agent_bundles.listed(stage.conn, agent.key)
    assert (told["state"], told["size"], told["requestedBy"]) == ("Ready", 3, "someone")
    assert ask(stage) != first


def test_attack_43_no_other_agent_brings_it(stage: Stage) -> None:
    bundle, other = ask(stage), stage.agent("b")
    for deed in (
        lambda: agent_bundles.require_wanted(stage.conn, other, bundle),
        lambda: bring(stage, bundle, "b"),
        lambda: agent_bundles.fail(stage.conn, other, bundle, START, "no"),
    ):
        with pytest.raises(NotTheirs):
            deed()
    bring(stage, bundle)
    with pytest.raises(NotTheirs):
        bring(stage, bundle)
    with pytest.raises(ApiError, match="no such support bundle"):
        agent_bundles.ready(stage.conn, other.key, bundle)


def test_what_is_not_there_is_not_fetched(stage: Stage) -> None:
    bundle, key = ask(stage), stage.agent("a").key
    with pytest.raises(ApiError) as waiting:
        agent_bundles.ready(stage.conn, key, bundle)
    assert (waiting.value.status, waiting.value.code) == (409, "BundleNotReady")
    agent_bundles.fail(stage.conn, stage.agent("a"), bundle, START, "The disk is full.")
    with pytest.raises(ApiError, match="The disk is full"):
        agent_bundles.ready(stage.conn, key, bundle)


def test_few_are_kept_and_none_for_ever(stage: Stage) -> None:
    made = []
    for _ in range(5):
        stage.now += 1
        made.append(ask(stage))
        bring(stage, made[-1])
    key = stage.agent("a").key
    assert [one["id"] for one in agent_bundles.listed(stage.conn, key)] == made[:1:-1]
    agent_bundles.remove(stage.conn, key, made[-1])
    assert agent_bundles.all_ids(stage.conn) == set(made[2:4])
    agent_bundles.forget_old(stage.conn, stage.now + KEEP + 1)
    assert agent_bundles.all_ids(stage.conn) == set()


def test_a_placeholder_is_not_asked(stage: Stage) -> None:
    machine = f"{MOVER.partition('/providers/')[0]}/providers/Microsoft.HybridCompute/machines/x"
    stage.put(f"{MOVER}/agents/x", {"arcResourceId": machine, "arcVmUuid": ID})
    with pytest.raises(ApiError) as refused:
        agent_bundles.request(stage.conn, stage.caller, resource(stage, "x"), KEEP)
    assert refused.value.code == "AgentNotRegistered"


def test_a_bundle_comes_in_pieces_and_is_there_when_it_is_whole(store: BundleStore) -> None:
    assert store.append(ID, 0, b"lost", LIMIT) == 4
    assert store.append(ID, 0, b"abc", LIMIT) == 3, "a first piece begins anew"
    assert store.append(ID, 3, b"def", LIMIT) == 6
    assert store.append(ID, 3, b"def", LIMIT) == 6, "a piece that comes twice is there once"
    assert store.append(ID, 9, b"x", LIMIT) == 6, "a piece from the middle waits for what is before it"
    assert not store.path(ID).exists()
    assert store.finish(ID, hashlib.sha256(b"abcdef").hexdigest()) == 6
    assert store.path(ID).read_bytes() == b"abcdef"
    store.keep_only({ID})
    assert store.path(ID).exists()
    store.keep_only(set())
    assert not store.path(ID).exists()


def test_attack_70_a_bundle_that_is_too_large_leaves_nothing(store: BundleStore, tmp_path: Path) -> None:
    store.append(ID, 0, b"x" * LIMIT, LIMIT)
    with pytest.raises(ApiError) as refused:
        store.append(ID, LIMIT, b"x", LIMIT)
    assert refused.value.status == 413
    assert list((tmp_path / "bundles").iterdir()) == []


def test_what_came_damaged_is_forgotten(store: BundleStore, tmp_path: Path) -> None:
    store.append(ID, 0, b"abc", LIMIT)
    assert store.finish(ID, "0" * 64) is None
    assert store.finish(ID, "0" * 64) is None
    assert list((tmp_path / "bundles").iterdir()) == []


@pytest.mark.parametrize("name", ["../etc/passwd", f"{ID}/..", f"{ID}\n", "", ID.upper() + "x"])
def test_attack_57_a_name_leads_nowhere_else(store: BundleStore, name: str) -> None:
    for deed in (
        lambda: store.path(name),
        lambda: store.append(name, 0, b"x", LIMIT),
        lambda: store.finish(name, "0" * 64),
    ):
        with pytest.raises(ApiError) as refused:
            deed()
        assert refused.value.status == 404
