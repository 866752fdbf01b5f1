"""What all tests of this folder share: a control plane with real agents, and trees that are made once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import oracle
from tests.azurite import Azurite
from tests.site import Site, site
from tests.slow_wire import slow_wire

WRITES_A_SECOND = 400
# So that runs have committed something, and are for long not at their end.
BEGINNING = 550
WRITES_IN_THE_MIDDLE = 40
# Each agent keeps it, so that there is a middle of runs into folders, too.
PACED = {"requestsPerSecond": 1000}


@dataclass(frozen=True)
class Tree:
    """A source and how many items it has."""

    path: Path
    items: int


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("plane"), azurite) as made, slowed(made):
        yield made


@contextmanager
def slowed(made: Site) -> Iterator[None]:
    """Runs into containers take seconds on any machine, so that there is a middle of them."""
    with slow_wire(made.azurite.host, WRITES_A_SECOND) as wire:
        made.blob_endpoint = made.azurite.url.replace(made.azurite.host, wire.host)
        made.middle = lambda: wire.slower(WRITES_IN_THE_MIDDLE, after=BEGINNING)
        yield


@pytest.fixture(autouse=True)
def _no_agent_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Agents of a test end with it, also when it failed."""
    yield
    if "here" in request.fixturenames:
        request.getfixturevalue("here").end_agents()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Enough for some seconds into a container."""
    return _tree(tmp_path_factory.mktemp("small"), 1000)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Enough for some seconds into a folder, by the pace of `PACED`."""
    return _tree(tmp_path_factory.mktemp("large"), 4000)


def _tree(folder: Path, files: int) -> Tree:
    return Tree(folder, oracle.grow(folder, files))
