"""Places and workers of the engine's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.engine.stage import order_of
from wherry.engine.pool import Pool
from wherry.model.wire import RunOrder


@pytest.fixture
def workers() -> Iterator[Pool]:
    with closing(Pool(1)) as made:
        yield made


@pytest.fixture
def order(tmp_path: Path) -> RunOrder:
    """A run from one folder to another."""
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    return order_of((str(tmp_path / "source"), str(tmp_path / "target")), kind="posix")
