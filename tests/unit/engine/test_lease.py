"""The clock of a lease: nobody writes after its end, whoever moved it, in whichever process."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from wherry.engine import lease as leases
from wherry.engine.lease import (
    SLOTS,
    Effort,
    LeaseClock,
    LeaseClocks,
    LeaseTable,
    boot_id,
    boot_time,
    table_at,
)
from wherry.engine.processes import Processes
from wherry.model.errors import LeaseLost, RunError
from wherry.model.wire import Renewal

LIMIT = 20.0


@pytest.fixture
def clocks() -> Iterator[LeaseClocks]:
    with closing(LeaseClocks()) as made:
        yield made


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time since boot, which the test moves."""
    moment = [1000.0]
    monkeypatch.setattr(leases, "boot_time", lambda: moment[0])
    return moment


def _as_worker(clock: LeaseClock) -> LeaseClock:
    """The same lease as another process sees it."""
    return LeaseClock(LeaseTable(clock.table), clock.slot)


def test_nothing_may_be_written_before_a_lease_has_time(clocks):
    with pytest.raises(LeaseLost):
        clocks.take().fence()


def test_time_counts_from_the_asking(clocks, now):
    clock = clocks.take()
    clock.extend(990.0, 60.0)
    worker = _as_worker(clock)
    assert clock.remaining() == worker.remaining() == 50.0
    now[0] = 1049.0
    worker.fence()
    now[0] = 1050.0
    for one in (clock, worker):
        with pytest.raises(LeaseLost):
            one.fence()
    clock.renewed(1049.5, Renewal(60.0))
    worker.fence()


def test_a_lease_that_is_not_renewed_in_time_is_ending(clocks, now):
    clock = clocks.take()
    assert not clock.ending
    clock.extend(1000.0, 60.0)
    worker = _as_worker(clock)
    for moment, ending in ((1000.0, False), (1039.0, False), (1041.0, True), (1059.0, True), (1060.0, False)):
        now[0] = moment
        assert worker.ending is ending
    clock.extend(1059.0, 60.0)
    now[0] = 1061.0
    assert not worker.ending
    clock.forever()
    assert not worker.ending


def test_a_worker_advances_only_while_its_time_lasts(clocks, now):
    clock = clocks.take()
    clock.extend(1000.0, 60.0)
    worker = _as_worker(clock)
    worker.advance()
    assert clock.moved()
    now[0] = 1060.0
    with pytest.raises(LeaseLost):
        worker.advance()
    assert not clock.moved()


def test_what_a_renewal_asks_for_reaches_the_worker(clocks):
    clock = clocks.take()
    worker = _as_worker(clock)
    clock.renewed(boot_time(), Renewal(60.0))
    assert not worker.stop
    assert not worker.split
    clock.renewed(boot_time(), Renewal(60.0, split=True, stop=True))
    assert worker.stop
    assert worker.split
    worker.served()
    assert not clock.split
    clock.ask_to_split()
    assert worker.split


def test_a_renewal_does_not_revive_a_lease_that_was_ended(clocks):
    clock = clocks.take()
    clock.extend(boot_time(), 100)
    clock.fence()
    clock.end()
    clock.extend(boot_time(), 100)
    with pytest.raises(LeaseLost):
        clock.fence()


def test_a_worker_ends_its_own_writing_and_no_other(clocks):
    clock = clocks.take()
    clock.forever()
    worker = _as_worker(clock)
    worker.end()
    with pytest.raises(LeaseLost):
        worker.fence()
    clock.fence()


def test_what_is_revoked_is_over_for_all_and_tells_since_when(clocks, now):
    clock = clocks.take()
    clock.forever()
    worker = _as_worker(clock)
    clock.revoke()
    clock.extend(now[0], 100)
    for one in (clock, worker):
        with pytest.raises(LeaseLost):
            one.fence()
    now[0] += 30.0
    assert clock.remaining() == -30.0
    clock.revoke()
    now[0] += 30.0
    assert clock.remaining() == -60.0


def test_a_lease_that_nobody_else_can_take_lasts(clocks, now):
    clock = clocks.take()
    clock.forever()
    now[0] = 1e12
    clock.fence()
    assert clock.remaining() == math.inf


def test_each_thing_that_was_done_is_a_move(clocks):
    clock = clocks.take()
    worker = _as_worker(clock)
    assert not clock.moved()
    worker.note()
    assert clock.moved()
    assert not clock.moved()
    worker.tell(Effort(items=3))
    assert clock.moved()


def test_what_a_worker_tells_is_what_the_owner_reads(clocks):
    clock = clocks.take()
    told = Effort(1, 2, 3.5, 4.5, 5.5, 6.5, 7)
    _as_worker(clock).tell(told)
    assert clock.effort() == told
    whole = Effort()
    whole.add(told)
    whole.add(told)
    assert whole == Effort(2, 4, 7.0, 9.0, 11.0, 13.0, 14)


def test_leases_do_not_touch_one_another(clocks):
    first, second = clocks.take(), clocks.take()
    first.forever()
    first.ask_to_stop()
    first.tell(Effort(items=5))
    assert not second.stop
    assert second.effort() == Effort()
    with pytest.raises(LeaseLost):
        second.fence()


def test_a_slot_that_is_used_again_knows_nothing_of_before(clocks):
    first = clocks.take()
    first.forever()
    first.ask_to_stop()
    first.ask_to_split()
    _as_worker(first).tell(Effort(items=5))
    clocks.give_back(first)
    for _ in range(SLOTS):
        again = clocks.take()
        if again.slot == first.slot:
            break
        clocks.give_back(again)
    assert again.slot == first.slot
    assert (again.stop, again.split, again.moved()) == (False, False, False)
    assert again.effort() == Effort()
    with pytest.raises(LeaseLost):
        again.fence()


def test_a_slot_under_which_somebody_may_still_write_is_not_given_to_others(clocks):
    stuck = clocks.take()
    stuck.stuck = True
    clocks.give_back(stuck)
    assert stuck.slot not in {clocks.take().slot for _ in range(SLOTS - 1)}


def test_the_table_is_gone_when_its_owner_ends_and_nobody_else_may_read_it():
    clocks = LeaseClocks()
    path = clocks.table.path
    assert os.stat(path).st_mode & 0o077 == 0
    clock = clocks.take()
    clock.forever()
    clocks.close()
    clocks.close()
    with suppress(FileNotFoundError):
        assert "wherry-leases" not in os.readlink(path)
    clock.fence()


def test_the_next_table_is_not_taken_for_one_that_was_there():
    with closing(LeaseClocks()) as one:
        first = table_at(one.table.path)
        assert table_at(one.table.path) is first
    with closing(LeaseClocks()) as two:
        clock = two.take()
        clock.forever()
        LeaseClock(table_at(two.table.path), clock.slot).fence()


def test_no_lease_begins_when_a_worker_may_still_write_under_each(clocks):
    for _ in range(SLOTS):
        clock = clocks.take()
        clock.stuck = True
        clocks.give_back(clock)
    with pytest.raises(RunError, match=r"64 workers hang .* restart the machine") as end:
        clocks.take()
    assert end.value.code == "AZSM1060"


def _nothing() -> None:
    """Nothing is to be begun."""


def _in_another_process(table: str, slot: int) -> tuple[float, bool]:
    clock = LeaseClock(LeaseTable(table), slot)
    clock.tell(Effort(items=7))
    return clock.remaining(), clock.stop


def test_another_process_sees_the_same_time_and_is_seen(clocks):
    clock = clocks.take()
    clock.extend(boot_time(), 600.0)
    clock.ask_to_stop()
    with Processes(1, _nothing) as one:
        remaining, stop = one.submit(_in_another_process, clock.table, clock.slot).result(LIMIT)
    assert 500 < remaining < 600
    assert stop
    assert clock.effort().items == 7
    assert clock.moved()


def test_one_start_of_this_machine_has_one_name():
    assert boot_id() == boot_id() != ""
