"""An agent that reaches its control plane by a proxy with a password alone, from registration to its end."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.connect_proxy import HOST, PASSWORD, USER, connect_proxy, known_to_the_proxy_alone
from tests.integration.agents import Administrator, daemon, name_for, until
from tests.integration.served import serving
from wherry.agent import network_check
from wherry.agent.register import register
from wherry.agent.state import AgentState
from wherry.agent.unregister import unregister
from wherry.client.connection import Unreachable
from wherry.model.way import DIRECT, Proxy, Way


def test_an_agent_registers_works_and_leaves_by_its_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_SETTING_FURTHER_HOSTS", HOST)
    source, target = tmp_path / "data" / "source", tmp_path / "data" / "target"
    source.mkdir(parents=True)
    target.mkdir()
    (source / "file").write_bytes(b"over the river")
    state = AgentState(tmp_path / "agent")
    with (
        known_to_the_proxy_alone(),
        serving(tmp_path / "state") as served,
        connect_proxy(USER, PASSWORD) as proxy,
    ):
        proxy.names[HOST] = "127.0.0.1"
        there = f"{HOST}:{urlsplit(served.url).port}"
        admin = Administrator(served, tmp_path / "config")
        mover = admin.mover()
        wanted = replace(admin.wanted(mover), url=f"https://{there}")
        with pytest.raises(Unreachable):
            admin.follow(register(state, wanted))
        state.keep_way(Way(Proxy("127.0.0.1", proxy.port, USER, PASSWORD)))
        admin.follow(register(state, wanted, lambda _: time.sleep(0.05)))
        assert all(network_check.check(one).passed for one in network_check.endpoints(state))
        for name, folder in (("src", source), ("dst", target)):
            local = {"endpointType": "LocalMount", "path": str(folder)}
            admin.api.put(f"{mover}/endpoints/{name}", {"properties": local})
        admin.api.put(f"{mover}/projects/p", {"properties": {}})
        properties = {
            "copyMode": "Mirror",
            "sourceName": "src",
            "targetName": "dst",
            "agentName": name_for(mover),
        }
        job = f"{mover}/projects/p/jobDefinitions/j"
        admin.api.put(job, {"properties": properties})
        with daemon(state, poll_seconds=0.5, allow_source=(source,), allow_target=(target,)):
            run = admin.api.post(f"{job}/startJob")["jobRunResourceId"]
            until(lambda: admin.api.get(run)["properties"]["status"] == "Succeeded")
        assert (target / "file").read_bytes() == b"over the river"
        list(unregister(state))
        assert set(proxy.passed) == {there}
        assert proxy.refused == []
        assert state.way() != DIRECT
        admin.close()
    log = "".join(one.read_text() for one in (state.directory / "log").iterdir())
    assert PASSWORD not in log
