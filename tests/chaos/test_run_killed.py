"""A run whose agent, worker processes or control plane are killed with no warning ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from tests.azurite import Azurite
from tests.chaos.conftest import PACED, Tree
from tests.site import Agent, Job, Site, assert_same

Kill = Callable[[Site, Agent], None]


def kill_agent(_here: Site, agent: Agent) -> None:
    assert agent.alive()
    roots = agent.roots
    agent.kill()
    agent.start(*roots)


def kill_worker(_here: Site, agent: Agent) -> None:
    os.kill(agent.workers()[0], signal.SIGKILL)


def kill_control_plane(here: Site, _agent: Agent) -> None:
    here.kill_control()
    here.serve_again()


def begun(job: Job, target: Path | ContainerClient) -> bool:
    """Whether something is on the target; the first commit is still to come."""
    if isinstance(target, Path):
        return any(name for _, _, files in os.walk(target) for name in files)
    return next(iter(target.list_blob_names()), None) is not None


def counted(job: Job, target: Path | ContainerClient) -> bool:
    """Whether a commit has counted something."""
    return bool(job.run.get("itemsTransferred"))


@pytest.mark.parametrize(
    ("kill", "when"),
    [
        pytest.param(kill_agent, begun, marks=pytest.mark.long),
        (kill_agent, counted),
        (kill_worker, counted),
        (kill_control_plane, counted),
    ],
)
def test_run_into_a_container(
    here: Site, azurite: Azurite, small: Tree, kill: Kill, when: Callable[..., bool]
) -> None:
    container = azurite.container()
    with here.running(small.path) as agent:
        job = here.job(small.path, container, agent)
        with here.middle():
            job.start()
            here.until(lambda: when(job, container))
            kill(here, agent)
            assert job.run["status"] in ("Started", "Running"), "it was over before anything was killed"
        job.end()
    job.assert_each_once(small.items)
    assert_same(small.path, container)


@pytest.mark.parametrize(
    ("kill", "when"),
    [
        pytest.param(kill_agent, counted, marks=pytest.mark.long),
        pytest.param(kill_worker, begun, marks=pytest.mark.long),
        (kill_control_plane, begun),
    ],
)
def test_run_into_a_folder(
    here: Site, large: Tree, tmp_path: Path, kill: Kill, when: Callable[..., bool]
) -> None:
    with here.running(large.path, tmp_path) as agent:
        job = here.job(large.path, tmp_path, agent, wherry=PACED)
        job.start()
        here.until(lambda: when(job, tmp_path))
        kill(here, agent)
        assert job.run["status"] in ("Started", "Running"), "it was over before anything was killed"
        job.end()
    job.assert_each_once(large.items)
    assert_same(large.path, tmp_path)
