"""One suite for all drivers of the credential broker: what is refused is refused by the back end, never by us.

Where a back end cannot limit something the suite shows that too, so that `model.drivers` tells no more and no less than
is so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from tests.azurite import Azurite
from tests.buckets import BucketServer
from tests.integration.broker_benches import (
    MINE,
    THEIRS,
    Bench,
    BlobBench,
    BucketBench,
    LeasedShareBench,
    ShareBench,
)
from tests.samba import Samba, SambaMissing, running_samba
from wherry.control.broker.port import Access, Issued, NoSlot, Wanted
from wherry.model.errors import Unavailable

LATER = 600.0
DRIVERS = ("blob-sas", "s3-user", "smb-secret", "smb-user")


@dataclass
class Servers:
    """All back ends, started before the first test; no Samba where there is none to be had."""

    azurite: Azurite
    buckets: BucketServer
    samba: Samba | None
    lack: str = ""

    def bench(self, driver: str) -> Bench:
        if driver == "blob-sas":
            return BlobBench(self.azurite)
        if driver == "s3-user":
            return BucketBench(self.buckets)
        if self.samba is None:
            pytest.skip(self.lack)
        return LeasedShareBench(self.samba) if driver == "smb-secret" else ShareBench(self.samba)


@pytest.fixture(scope="module")
def servers(azurite: Azurite, bucket_server: BucketServer) -> Iterator[Servers]:
    try:
        with running_samba() as samba:
            yield Servers(azurite, bucket_server, samba)
    except SambaMissing as missing:
        if os.environ.get("CI"):
            raise
        yield Servers(azurite, bucket_server, None, str(missing))


@pytest.fixture(params=DRIVERS)
def bench(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Bench]:
    made = servers.bench(request.param)
    yield made
    if isinstance(made, BucketBench):
        made.close()


@contextmanager
def access(bench: Bench, kind: Access = "write") -> Iterator[tuple[Wanted, Issued]]:
    """A credential for the time of a block."""
    wanted = bench.wanted(kind)
    issued = bench.driver.issue(wanted, time.time() + LATER)
    try:
        yield wanted, issued
    finally:
        bench.driver.withdraw(wanted, issued.material)


@pytest.fixture
def opened(bench: Bench) -> Iterator[tuple[Wanted, Issued]]:
    with access(bench) as made:
        yield made


def test_the_right_place_and_no_other(bench: Bench, opened: tuple[Wanted, Issued]) -> None:
    _, issued = opened
    limits = bench.driver.facts.limits
    by_folder = "the folder of the job" in limits
    by_place = any(one in limits for one in ("the container", "the bucket", "the share"))

    assert bench.put(issued.material, f"{MINE}/a")
    assert bench.list(issued.material, f"{MINE}/")
    assert bench.put(issued.material, f"{MINE}/a", other=True) is not by_place
    assert bench.put(issued.material, f"{THEIRS}/a") is not by_folder
    assert bench.put(issued.material, f"{MINE}ral") is not by_folder
    assert bench.list(issued.material, "") is not by_folder
    assert issued.expires_at == pytest.approx(time.time() + LATER, abs=60)


def test_nothing_is_deleted_without_mirror(bench: Bench, opened: tuple[Wanted, Issued]) -> None:
    _, issued = opened
    assert bench.put(issued.material, f"{MINE}/kept")
    limited = any(one.startswith("writing without deleting") for one in bench.driver.facts.limits)
    assert bench.delete(issued.material, f"{MINE}/kept") is not limited
    with access(bench, "mirror") as (_, mirror):
        assert bench.put(mirror.material, f"{MINE}/gone")
        assert bench.delete(mirror.material, f"{MINE}/gone")


def test_it_ends_by_itself_and_is_renewed(bench: Bench, opened: tuple[Wanted, Issued]) -> None:
    wanted, issued = opened
    with suppress(Unavailable):
        # The driver for Blob looks, and finds that nobody is let in.
        bench.driver.renew(wanted, issued.material, time.time() - 60)
    ends = "the time of the run" not in bench.driver.facts.cannot
    assert bench.put(issued.material, f"{MINE}/late") is not ends
    renewed = bench.driver.renew(wanted, issued.material, time.time() + LATER)
    assert renewed.material == issued.material
    assert bench.put(renewed.material, f"{MINE}/again")


def test_attack_53_withdrawn_in_the_midst_of_an_upload_it_stops(bench: Bench) -> None:
    wanted = bench.wanted()
    issued = bench.driver.issue(wanted, time.time() + LATER)
    withdrawn = "this run" not in bench.driver.facts.cannot
    with bench.upload(issued.material, f"{MINE}/large") as send:
        assert send()
        bench.driver.withdraw(wanted, issued.material)
        assert send() is not withdrawn
    assert bench.put(issued.material, f"{MINE}/after") is not withdrawn
    bench.driver.withdraw(wanted, issued.material)
    assert wanted.id not in bench.driver.names(wanted.told)


def test_a_crash_between_the_steps_leaves_one_credential(bench: Bench) -> None:
    wanted = bench.wanted()
    bench.driver.issue(wanted, time.time() + LATER)
    again = bench.driver.issue(wanted, time.time() + LATER)
    assert bench.put(again.material, f"{MINE}/a")
    assert bench.driver.names(wanted.told).count(wanted.id) == (bench.driver.facts.name != "smb-secret")
    bench.driver.withdraw(wanted, again.material)
    if bench.driver.facts.name != "smb-secret":
        assert not bench.put(again.material, f"{MINE}/a")


def test_a_samba_has_as_many_runs_as_accounts_and_readers_do_not_write(servers: Servers) -> None:
    bench = servers.bench("smb-user")
    with access(bench), access(bench), pytest.raises(NoSlot):
        bench.driver.issue(bench.wanted(), time.time() + LATER)
    with access(bench, "read") as (_, reader):
        assert bench.list(reader.material, "")
        assert not bench.put(reader.material, f"{MINE}/a")
