"""Support bundles by request: from the asking to the file in somebody's hands, with a real agent and control plane."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agents import Administrator, daemon, name_for, until
from tests.integration.served import serving
from wherry.agent import bundle as bundles
from wherry.agent.bundle import Bundle
from wherry.agent.state import AgentState
from wherry.client import bundle_upload
from wherry.client.agent_protocol import AgentProtocol
from wherry.client.bundle_upload import BundleUpload
from wherry.client.interruptible import Interruptible
from wherry.model.errors import ApiError


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administrator]:
    folder = tmp_path_factory.mktemp("plane")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHERRY_SETTING_HEARTBEAT_SECONDS", "0.2")
        patch.setenv("WHERRY_SETTING_BUNDLE_LIMIT_MIB", "1")
        with serving(folder / "state") as served:
            administrator = Administrator(served, folder / "config")
            yield administrator
            administrator.close()


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")


class Asked:
    """A registered agent that is asked for bundles."""

    def __init__(self, admin: Administrator, state: AgentState) -> None:
        mover = admin.mover()
        admin.register(state, mover)
        self.api, self.state = admin.api, state
        self.path = f"{mover}/agents/{name_for(mover)}"

    def ask(self) -> str:
        return str(self.api.post(f"{self.path}/requestSupportBundle")["id"])

    def told(self, bundle: str) -> dict[str, Any]:
        found = self.api.list(f"{self.path}/supportBundles")
        return next(one for one in found if one["id"] == bundle)

    def ended(self, bundle: str) -> dict[str, Any]:
        return dict(until(lambda: (told := self.told(bundle))["state"] != "Requested" and told))

    def fetch(self, bundle: str) -> bytes:
        return b"".join(self.api.content(f"{self.path}/supportBundles/{bundle}/download"))


@pytest.fixture
def asked(admin: Administrator, state: AgentState) -> Asked:
    return Asked(admin, state)


def test_an_agent_brings_what_it_is_asked_for(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_upload, "PIECE", 700)
    bundle = asked.ask()
    with pytest.raises(ApiError, match="has not brought it yet"):
        asked.fetch(bundle)
    with daemon(asked.state):
        told = asked.ended(bundle)
    assert told["state"] == "Ready", told
    content = asked.fetch(bundle)
    assert len(content) == told["size"] > 700
    (made,) = bundles.folder(asked.state).glob("support-*")
    assert content == made.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        held = {one.name.partition("/")[2]: archive.extractfile(one) for one in archive.getmembers()}
        files = {name: file.read().decode() for name, file in held.items() if file is not None}
    assert json.loads(files["own/health.json"])["agentId"] == asked.path
    assert json.loads(files["own/config.json"])["runs"]
    assert json.loads(files["own/metrics.json"])["events"]["info online"] == 1
    assert "own/journal.jsonl" in files
    asked.api.delete(f"{asked.path}/supportBundles/{bundle}")
    assert list(asked.api.list(f"{asked.path}/supportBundles")) == []


def test_a_bundle_that_is_too_large_is_told_and_not_tried_again(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[Path] = []

    def large(state: AgentState) -> Bundle:
        collected.append(bundles.folder(state) / "support-large.tar.gz")
        collected[-1].write_bytes(bytes(1024 * 1024 + 1))
        return Bundle(collected[-1], 1024 * 1024 + 1, "0" * 64, ())

    monkeypatch.setattr("wherry.agent.bundle.collect", large)
    bundle = asked.ask()
    with daemon(asked.state):
        assert "at most 1048576 bytes" in asked.ended(bundle)["trouble"]
    assert len(collected) == 1


def test_a_disk_without_room_is_told(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_state: AgentState) -> Bundle:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wherry.agent.bundle.collect", full)
    bundle = asked.ask()
    with daemon(asked.state):
        assert "No space left on device" in asked.ended(bundle)["trouble"]


def test_attack_43_what_another_agent_is_asked_for_is_not_there(
    admin: Administrator, asked: Asked, tmp_path: Path
) -> None:
    other, bundle = Asked(admin, AgentState(tmp_path / "other")), asked.ask()
    identity = other.state.identity()
    assert identity is not None
    protocol = AgentProtocol(identity)
    line = Interruptible(identity.ca_file, identity.url, identity.way)
    upload = BundleUpload(protocol, line, bundle, lambda _: False)
    file = tmp_path / "forged"
    file.write_bytes(b"forged")
    for deed in (lambda: upload.bring(file, "0" * 64), lambda: upload.give_up("no")):
        with pytest.raises(ApiError) as refused:
            deed()
        assert (refused.value.status, refused.value.code) == (404, "BundleNotFound")
    assert asked.told(bundle)["state"] == "Requested"
    for path in (f"{other.path}/supportBundles/{bundle}/download",):
        with pytest.raises(ApiError) as absent:
            list(admin.api.content(path))
        assert absent.value.code == "BundleNotFound"
    line.close()
    protocol.close()
