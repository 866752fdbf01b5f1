"""What whole migrations share: a control plane of the module's own, an agent at work, a place for a test's folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.site import Agent, Site, site


@dataclass(frozen=True)
class Place:
    """An empty source and an empty target that the agent may use."""

    source: Path
    target: Path


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("plane"), azurite) as made:
        yield made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder that the agent may read and write below."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def agent(here: Site, root: Path) -> Iterator[Agent]:
    """An agent that works for all tests of a module."""
    with here.running(root) as made:
        yield made


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Place:
    found = Place(root / tmp_path.name / "source", root / tmp_path.name / "target")
    found.source.mkdir(parents=True)
    found.target.mkdir()
    return found
