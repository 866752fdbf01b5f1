"""What becomes of runs when somebody dies: the control plane by kill -9, or the agent for good, while access stands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.integration.migration import QUICK, World, rows, sas_works, world
from tests.integration.served import serving
from wherry.client.agent_protocol import lease_header
from wherry.model.errors import ApiError, LeaseLost
from wherry.model.ledger import Commit, Span
from wherry.model.outcomes import Counters, encode_rows, segment_name
from wherry.model.wire import Progress, SegmentName


@contextmanager
def quick_world(folder: Path, azurite: Azurite, **settings: str) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**QUICK, **settings}.items():
            patch.setenv(name, value)
        with world(folder, azurite) as made:
            yield made


def test_agent_that_is_gone_for_good(tmp_path: Path, azurite: Azurite) -> None:
    settings = {
        "WHERRY_SETTING_LEASE_SECONDS": "1",
        "WHERRY_SETTING_AGENT_LOST_SECONDS": "2",
        "WHERRY_SETTING_QUEUED_LIMIT_SECONDS": "2",
        "WHERRY_SETTING_OFFLINE_SECONDS": "1",
    }
    with quick_world(tmp_path, azurite, **settings) as here:
        agent = here.agent("one")
        container = azurite.container().container_name
        job = here.job(container=container, agent="one")
        job.start()
        grant = agent.take()
        secret = agent.ledger(grant).credential(grant.token).secret
        run = job.await_status("Failed")
        assert run["error"]["code"] == "AZSM1041"
        job.await_run(lambda run: run["wherry"]["accessState"] == "Ended")
        assert here.assignments(agent) == []
        assert not sas_works(azurite, container, secret)
        found = here.arm("GET", f"{here.mover_id}/agents/one").json()["properties"]
        assert found["agentStatus"] == "Offline"

        job.start()
        assert job.await_status("Failed")["error"]["code"] == "AZSM1042"

        agent.protocol.heartbeat({"version": "1", "cores": 4})
        found = here.arm("GET", f"{here.mover_id}/agents/one").json()["properties"]
        assert (found["agentStatus"], found["numberOfCores"]) == ("Online", 4)
        job.start()
        grant = agent.take()
        agent.commit(grant, 1, rows("a"))
        job.await_status("Succeeded")


def test_control_plane_killed_in_the_middle_of_a_run(tmp_path: Path, azurite: Azurite) -> None:
    # Long enough for a start of the control plane on a machine that has other things to do.
    with quick_world(tmp_path, azurite, WHERRY_SETTING_LEASE_SECONDS="30") as here:
        agent = here.agent("one")
        container = azurite.container().container_name
        job = here.job(container=container, agent="one")
        job.start()
        grant = agent.take()
        secret = agent.ledger(grant).credential(grant.token).secret
        log = rows("a")
        progress = agent.progress(grant, 1, log, Span(cursor=b"a"))
        agent.ledger(grant).commit(grant.token, progress)

        with killed(here):
            assert agent.ledger(grant, 30).commit(grant.token, progress).ttl == 30.0
            assert job.run["itemsTransferred"] == 1
            agent.commit(grant, 2, rows("b"))
            run = job.await_status("Succeeded")
            assert run["itemsTransferred"] == 2
            assert len(job.copy_log()) == 2
            job.await_run(lambda run: run["wherry"]["accessState"] == "Ended")
            assert here.assignments(agent) == []
            assert not sas_works(azurite, container, secret)


def test_access_is_taken_back_after_the_control_plane_was_killed(tmp_path: Path, azurite: Azurite) -> None:
    settings = {"WHERRY_SETTING_LEASE_SECONDS": "1", "WHERRY_SETTING_AGENT_LOST_SECONDS": "2"}
    with quick_world(tmp_path, azurite, **settings) as here:
        agent = here.agent("one")
        container = azurite.container().container_name
        job = here.job(container=container, agent="one")
        job.start()
        grant = agent.take()
        secret = agent.ledger(grant).credential(grant.token).secret
        assert len(here.assignments(agent)) == 1

        with killed(here):
            job.await_status("Failed")
            job.await_run(lambda run: run["wherry"]["accessState"] == "Ended")
            assert here.assignments(agent) == []
            assert not sas_works(azurite, container, secret)
            with pytest.raises(LeaseLost):
                agent.commit(grant, 1, [])


@contextmanager
def killed(here: World) -> Iterator[None]:
    """Kill the control plane with SIGKILL and serve the same state at the same address again."""
    port = int(here.served.url.rpartition(":")[2])
    os.kill(here.served.process.pid, signal.SIGKILL)
    here.served.process.wait()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    with serving(here.served.state, f"127.0.0.1:{port}") as again:
        before, here.served = here.served, again
        again.credential = before.credential
        try:
            yield
        finally:
            here.served = before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk_under_the_logs(tmp_path: Path, azurite: Azurite) -> None:
    with quick_world(tmp_path, azurite) as here:
        agent = here.agent("one")
        job = here.job(agent="one")
        job.start()
        grant = agent.take()
        body = encode_rows(rows(*(uuid.uuid4().hex for _ in range(5000))))
        name = segment_name(grant.order.run, grant.token.partition, grant.token.epoch, 1, body)
        with full_disk(here.served.state / "segments"):
            answer = agent.protocol.answer(
                "PUT", f"/segments/{name}", content=body, headers=lease_header(grant.token)
            )
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            unnamed = Progress(Commit(1, None), Counters(), (SegmentName(name, 5000),))
            with pytest.raises(ApiError) as refused:
                agent.ledger(grant).commit(grant.token, unnamed)
            assert refused.value.code == "SegmentMissing"
        agent.ledger(grant).put(grant.token, name, body)
        agent.ledger(grant).commit(grant.token, unnamed)
        job.await_status("Succeeded")
        assert len(job.copy_log(**{"$top": "1000"})) == 5000


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """A file system without room over `folder`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
