"""Two agents on one run: both work, one may die or sleep, and one that wakes too late changes nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from tests.azurite import Azurite
from tests.chaos.conftest import PACED, Tree
from tests.site import Agent, Site, assert_same

Target = Path | ContainerClient


@pytest.fixture(params=["container", pytest.param("folder", marks=pytest.mark.long)])
def target(request: pytest.FixtureRequest, tmp_path: Path, azurite: Azurite) -> Target:
    return tmp_path if request.param == "folder" else azurite.container()


@pytest.fixture
def tree(request: pytest.FixtureRequest, target: Target) -> Tree:
    found = request.getfixturevalue("large" if isinstance(target, Path) else "small")
    assert isinstance(found, Tree)
    return found


def committed(here: Site, agent: Agent, run: str) -> int:
    """How many segments of the run's copy log were committed under leases of this agent."""
    with closing(sqlite3.connect(f"file:{here.served.state}/wherry.db?mode=ro", uri=True)) as database:
        names = [row[0] for row in database.execute("SELECT name FROM segments WHERE run = ?", (run,))]
    leases = {f"{run}/{line['partition']}/{line['epoch']}/" for line in agent.lines("lease.begin", run=run)}
    return sum(any(name.startswith(lease) for lease in leases) for name in names)


def versions(target: Target) -> dict[str, object]:
    """What changes with every write at the target: change times and inodes, or etags."""
    if isinstance(target, Path):
        found = [
            os.path.join(base, name) for base, folders, files in os.walk(target) for name in folders + files
        ]
        return {path: (os.lstat(path).st_ctime_ns, os.lstat(path).st_ino) for path in found}
    return {blob.name: blob.etag for blob in target.list_blobs()}


def holds(agent: Agent) -> set[tuple[int, int]]:
    """Leases that by its own log the agent has begun and not ended."""

    def told(event: str) -> set[tuple[int, int]]:
        return {(line["partition"], line["epoch"]) for line in agent.lines(event) if "epoch" in line}

    return told("lease.begin") - told("lease.done") - told("lease.lost") - told("lease.release")


def ready(*agents: Agent) -> bool:
    return all(agent.lines("online") for agent in agents)


def roots(target: Target, tree: Tree) -> list[Path]:
    return [tree.path, target] if isinstance(target, Path) else [tree.path]


def test_both_work_and_when_one_is_killed_the_other_finishes(here: Site, target: Target, tree: Tree) -> None:
    # One that has no workers hands out little in advance, so that there is something to share.
    workers = 1 if isinstance(target, Path) else 0
    with (
        here.running(*roots(target, tree), workers=workers) as first,
        here.running(*roots(target, tree), workers=workers) as second,
    ):
        here.until(lambda: ready(first, second))
        job = here.job(tree.path, target, here.group(first, second), wherry=PACED)
        run = job.start()
        here.until(lambda: holds(first) or holds(second))
        dying, other = (first, second) if holds(first) else (second, first)
        here.until(lambda: committed(here, dying, run) and holds(dying) and holds(other))
        dying.kill()
        assert holds(dying), "it had nothing to lose"
        job.end()
        assert committed(here, other, run)
    job.assert_each_once(tree.items)
    assert_same(tree.path, target)
    assert here.assignments(first) == here.assignments(second) == []


def test_one_that_wakes_after_its_lease_changes_nothing(here: Site, target: Target, tree: Tree) -> None:
    with (
        here.running(*roots(target, tree), workers=1) as first,
        here.running(*roots(target, tree), workers=1) as second,
    ):
        here.until(lambda: ready(first, second))
        job = here.job(tree.path, target, here.group(first, second), wherry=PACED)
        run = job.start()
        here.until(lambda: versions(target) and (holds(first) or holds(second)))
        sleeper, other = (first, second) if holds(first) else (second, first)
        sleeper.freeze()
        asleep = holds(sleeper)
        assert asleep, "it had nothing to lose"
        job.end()
        assert committed(here, other, run)
        assert_same(tree.path, target)
        before, ended = versions(target), job.run
        commits = committed(here, sleeper, run)

        sleeper.thaw()
        here.until(lambda: not asleep & holds(sleeper))

        assert sleeper.lines("lease.lost", run=run)
        # To be told of its next lease, it has to be done with all that came before.
        follower = here.job(tree.path / "folder 0000", target, sleeper, subpath="follower")
        follower.start()
        follower.end()
        after = {path: seen for path, seen in versions(target).items() if "follower" not in path}
        assert after == before
        assert committed(here, sleeper, run) == commits
        assert job.run == ended
    job.assert_each_once(tree.items)
