"""A container stays open from one lease to the next, as its real server sees it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.conformance.conftest import spec_of
from tests.faulty_wire import faulty_wire
from wherry.engine.copy import copy
from wherry.engine.kept_stores import KEPT
from wherry.engine.pool import Pool
from wherry.model.options import JobOptions
from wherry.stores.port import StoreSpec


def test_what_a_service_can_is_asked_once_for_many_leases(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "file").write_bytes(b"x")
        (tmp_path / f"{number}" / "link").symlink_to("file")
    container = azurite.container("kept")
    host, port = azurite.host.split(":")
    leases: list[object] = []
    real = Pool.perform

    def perform(pool: Pool, *told: object, **more: object) -> None:
        leases.append(told)
        real(pool, *told, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Pool, "perform", perform)
    with faulty_wire((host, int(port))) as wire:
        spec = spec_of(azurite, container.container_name)
        spec = replace(spec, location=spec.location.replace(azurite.host, f"127.0.0.1:{wire.port}"))
        report = copy(StoreSpec("posix", str(tmp_path)), spec, JobOptions(), workers=0)

        assert report.end.code == ""
        assert len(leases) > 1
        assert wire.count("restype=account") == 1
        assert not KEPT._idle
