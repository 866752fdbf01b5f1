"""An agent's bandwidth schedule, from the API to what its workers send, changed while they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agents import Administrator, daemon, name_for, until
from tests.integration.served import serving
from wherry.agent.state import AgentState
from wherry.model.schedules import DAYS


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administrator]:
    folder = tmp_path_factory.mktemp("plane")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHERRY_SETTING_HEARTBEAT_SECONDS", "0.3")
        with serving(folder / "state") as served:
            administrator = Administrator(served, folder / "config")
            yield administrator
            administrator.close()


def always(limit: int) -> dict[str, Any]:
    window = {"days": list(DAYS), "startTime": {"hour": 0}, "endTime": {"hour": 24}, "limitInMbps": limit}
    return {"weeklyRecurrences": [window]}


def test_a_pause_holds_a_run_and_its_end_lets_it_go(admin: Administrator, tmp_path: Path) -> None:
    state, mover = AgentState(tmp_path / "agent"), admin.mover()
    admin.register(state, mover)
    path = f"{mover}/agents/{name_for(mover)}"
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        told = {"endpointType": "LocalMount", "path": str(tmp_path / name)}
        admin.api.put(f"{mover}/endpoints/{name}", {"properties": told})
    for number in range(20):
        (tmp_path / "source" / str(number)).write_bytes(b"x" * 100)
    admin.api.patch(
        path, {"properties": {"uploadLimitSchedule": always(0), "wherry": {"timeZone": "Asia/Tokyo"}}}
    )
    admin.api.put(f"{mover}/projects/p", {"properties": {}})
    job = f"{mover}/projects/p/jobDefinitions/j"
    places = {"sourceName": "source", "targetName": "target", "agentName": name_for(mover)}
    admin.api.put(job, {"properties": {"copyMode": "Additive", **places}})

    with daemon(state, allow_source=(tmp_path,), allow_target=(tmp_path,)):
        run = str(admin.api.post(f"{job}/startJob")["jobRunResourceId"])

        def status() -> str:
            return str(admin.api.get(run)["properties"]["status"])

        until(lambda: status() == "PausedByBandwidthManagement", 60)
        assert admin.api.get(job)["properties"]["latestJobRunStatus"] == "PausedByBandwidthManagement"
        until(lambda: admin.agent(mover)["wherry"]["uploadLimit"].get("appliedInMbps") == 0, 60)
        shown = admin.agent(mover)["wherry"]["uploadLimit"]
        assert (shown["limitInMbps"], shown["timeZone"]) == (0, "Asia/Tokyo")
        assert "until" not in shown
        assert list((tmp_path / "target").iterdir()) == []
        admin.api.patch(path, {"properties": {"uploadLimitSchedule": always(1000)}})
        until(lambda: status() == "Succeeded", 60)
        assert len(list((tmp_path / "target").iterdir())) == 20
        until(lambda: admin.agent(mover)["wherry"]["uploadLimit"].get("appliedInMbps") == 1000, 60)
        admin.api.patch(path, {"properties": {"uploadLimitSchedule": {"weeklyRecurrences": []}}})
        cleared = admin.agent(mover)
        assert "uploadLimit" not in cleared["wherry"]
        assert "uploadLimitSchedule" not in cleared
        assert cleared["wherry"]["timeZone"] == "Asia/Tokyo"
