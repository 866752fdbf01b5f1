"""The limit of a whole machine: kept by all its workers, changed while they wait, and free when there is none."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from wherry.engine import pacer as pacers
from wherry.engine.lease import boot_time
from wherry.engine.pacer import Limits, MachineLimit, Pacer, turns
from wherry.model.errors import LeaseLost


@pytest.fixture
def limit() -> Iterator[MachineLimit]:
    with closing(MachineLimit()) as made:
        yield made


def nothing() -> None:
    """Whoever waits looks at nothing."""


def test_without_a_limit_nobody_waits(limit: MachineLimit) -> None:
    with closing(Pacer(Limits("", None, None, limit.path), nothing)) as pacer:
        begun = boot_time()
        for _ in range(1000):
            pacer.take(10**9)
        assert boot_time() - begun < 5
        assert not pacer.limited


def test_runs_share_the_limit_of_their_machine(limit: MachineLimit) -> None:
    limit.set(1_000_000)
    first, second = (Pacer(Limits("", None, None, limit.path), nothing) for _ in range(2))
    with closing(first), closing(second):
        begun = boot_time()
        for pacer in (first, second, first, second):
            assert pacer.limited
            pacer.take(100_000)
        # The first goes at once, and a tenth of a second may have been saved up.
        assert boot_time() - begun > 3 * 0.1 - 0.1


def test_the_limit_of_a_run_counts_beside_it(limit: MachineLimit) -> None:
    limit.set(10**9)
    with (
        closing(turns()) as pace,
        closing(Pacer(Limits(pace.path, 1_000_000, None, limit.path), nothing)) as pacer,
    ):
        begun = boot_time()
        for _ in range(4):
            pacer.take(100_000)
        assert boot_time() - begun > 3 * 0.1 - 0.1


def test_a_pause_ends_when_the_limit_does(limit: MachineLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacers, "_LOOK_SECONDS", 0.01)
    limit.set(0)
    waits, done = threading.Event(), threading.Event()

    def work() -> None:
        with closing(Pacer(Limits("", None, None, limit.path), waits.set)) as pacer:
            pacer.take(1)
            limit.set(1)
            # A million seconds, were it not for the change.
            changer.start()
            pacer.take(1)
            pacer.take(1_000_000)
            pacer.take(1)
        done.set()

    changer = threading.Timer(0.1, limit.set, (math.inf,))
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    assert waits.wait(30)
    assert not done.is_set()
    limit.set(math.inf)
    assert done.wait(30)
    worker.join(30)
    changer.join(30)


def test_whoever_is_paused_sees_that_its_lease_is_over(limit: MachineLimit) -> None:
    limit.set(0)

    def look() -> None:
        raise LeaseLost("it is over")

    with closing(Pacer(Limits("", None, None, limit.path), look)) as pacer, pytest.raises(LeaseLost):
        pacer.take(1)
