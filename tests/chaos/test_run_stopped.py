"""A run is stopped in any of its states, in bounded time, and the next start goes on where it was."""

from __future__ import annotations

from pathlib import Path

from azure.storage.blob import ContainerClient

from tests.azurite import Azurite
from tests.chaos.conftest import Tree
from tests.site import Job, Site, assert_same

# A renewal tells the agent (a third of the lease's 4 s), which looks every half second and ends what is under way.
BOUND = 15.0


def stop(job: Job) -> None:
    """Stop it and see that it ends Canceled in time, with all that it held given back."""
    job.stop()
    ended = job.end(BOUND)
    assert ended["status"] == "Canceled", ended
    assert "executionEndTime" in ended
    assert any(row.startswith("AZSM1045") for row in job.told())


def finish(job: Job, tree: Tree, target: Path | ContainerClient, done: int) -> None:
    """Start again: what an earlier run has transferred is not transferred again."""
    job.start()
    ended = job.end()
    assert (ended["status"], ended["itemsScanned"]) == ("Succeeded", tree.items)
    assert ended["itemsTransferred"] + ended["itemsNoTransferNeeded"] == tree.items
    assert ended["itemsNoTransferNeeded"] >= done
    assert_same(tree.path, target)


def test_queued(here: Site, small: Tree, tmp_path: Path) -> None:
    agent = here.agent()
    job = here.job(small.path, tmp_path, agent)
    job.start()
    assert job.run["status"] == "Queued"

    stop(job)

    assert not list(tmp_path.iterdir())
    agent.start(small.path, tmp_path)
    finish(job, small, tmp_path, 0)


def test_started(here: Site, small: Tree, azurite: Azurite) -> None:
    container = azurite.container()
    with here.running(small.path) as agent:
        job = here.job(small.path, container, agent)
        with here.middle():
            job.start()
            job.await_run(lambda run: run["status"] == "Started")
            job.stop()
        # Stopped before it could tell anything, or right after its first words.
        assert job.end(BOUND)["status"] == "Canceled"
        finish(job, small, container, 0)


def test_running(here: Site, small: Tree, azurite: Azurite) -> None:
    container = azurite.container()
    with here.running(small.path, workers=1) as agent:
        job = here.job(small.path, container, agent)
        with here.middle():
            run = job.start()
            job.await_run(lambda run: run["status"] == "Running")
            stop(job)
        here.until(lambda: agent.lines("lease.release", run=run, code=""))
        done = job.run["itemsTransferred"]
        assert 0 < done < small.items
        assert len(job.rows()) == done
        finish(job, small, container, done)


def test_the_agent_is_offline(here: Site, small: Tree, azurite: Azurite) -> None:
    container = azurite.container()
    with here.running(small.path, workers=1) as agent:
        job = here.job(small.path, container, agent)
        with here.middle():
            job.start()
            job.await_run(lambda run: run["status"] == "Running")
            agent.kill()
            stop(job)
        done = job.run["itemsTransferred"]
        agent.start(small.path)
        finish(job, small, container, done)


def test_twice_is_as_once(here: Site, small: Tree, azurite: Azurite) -> None:
    container = azurite.container()
    with here.running(small.path, workers=1) as agent:
        job = here.job(small.path, container, agent)
        with here.middle():
            job.start()
            job.await_run(lambda run: run["status"] == "Running")
            agent.freeze()
        job.stop()
        assert job.run["status"] == "CancelRequested"
        job.stop()
        assert job.end(BOUND)["status"] == "Canceled"
