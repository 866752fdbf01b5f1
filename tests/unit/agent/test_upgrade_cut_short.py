"""The power fails at each step of an upgrade, the disk is full, the clock is set back: a program that runs is left."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.small_disk import Mount, full, small
from tests.unit.agent.test_upgrade import KEY, NEXT, Offer, offer, upgrades
from wherry.agent.programs import INSTALLED, Choice, Programs
from wherry.agent.upgrade import AGAIN_SECONDS, Upgrades

__all__ = ["offer", "small", "upgrades"]
STEPS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link")
MOST_STEPS = 200


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do it in a process that is killed before its `step`th change of a file; whether it came so far."""
    child = os.fork()
    if not child:
        left = step

        def count(event: str, _args: object) -> None:
            nonlocal left
            if event in STEPS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def here(offer: Offer, folder: Path) -> Upgrades:
    return Upgrades(Programs(folder), (KEY.public,), lambda: offer.now)


def runs(programs: Programs) -> str:
    """The version that would be started; its program is whole."""
    choice = programs.choice
    tree = programs.path(choice.version)
    if tree is None:
        assert choice.version == INSTALLED
        return INSTALLED
    assert (tree / "wherry" / "__init__.py").read_text() == f'__version__ = "{choice.version}"\n'
    return choice.version


def on_trial(offer: Offer, folder: Path) -> None:
    assert here(offer, folder).take(NEXT, offer.read)
    Programs(folder).started()


def fetch(offer: Offer, folder: Path) -> None:
    here(offer, folder).take(NEXT, offer.read)


def passes(_offer: Offer, folder: Path) -> None:
    Programs(folder).passed()


def fails(_offer: Offer, folder: Path) -> None:
    Programs(folder).take_back("AZSM0004", "it ended", 2_000_000.0)


@pytest.mark.parametrize(
    ("before", "work", "may_run", "then"),
    [
        (None, fetch, {INSTALLED, NEXT}, NEXT),
        (on_trial, passes, {NEXT}, NEXT),
        (on_trial, fails, {INSTALLED, NEXT}, INSTALLED),
    ],
    ids=["it is fetched", "it passes", "it is taken back"],
)
def test_the_power_fails_at_each_step(
    offer: Offer,
    tmp_path: Path,
    before: Callable[[Offer, Path], None] | None,
    work: Callable[[Offer, Path], None],
    may_run: set[str],
    then: str,
) -> None:
    offer.add(NEXT)
    begun, at = tmp_path / "begun", tmp_path / "agent"
    Programs(begun)
    if before is not None:
        before(offer, begun)
    for step in range(MOST_STEPS):
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(begun, at)
        cut = killed_at(step, lambda: work(offer, at))
        programs = Programs(at)
        assert runs(programs) in may_run
        if not cut:
            break
        # The machine comes back, and what was cut short is done again, unless it was done.
        if programs.choice.trial or before is None:
            work(offer, at)
        assert runs(Programs(at)) == then
    assert 3 < step < MOST_STEPS - 1
    assert runs(Programs(at)) == then


def test_a_full_disk_refuses_the_program_and_remembers_it(offer: Offer, small: Mount) -> None:
    disk = small("disk")
    offer.add(NEXT)
    upgrades = here(offer, disk / "agent")
    with full(disk):
        assert not upgrades.take(NEXT, offer.read)
        assert upgrades.told() == {"version": NEXT, "code": "AZSM0003", "detail": "No space left on device"}
        offer.asked.clear()
        assert not upgrades.take(NEXT, offer.read)
        assert not offer.asked, "it is not fetched with each heartbeat"
    offer.now += AGAIN_SECONDS
    assert upgrades.take(NEXT, offer.read)
    assert runs(Programs(disk / "agent")) == NEXT


def test_a_full_disk_keeps_no_trial_from_its_end(offer: Offer, small: Mount) -> None:
    disk = small("disk")
    offer.add(NEXT)
    on_trial(offer, disk / "agent")
    around, inside = Programs(disk / "agent"), Programs(disk / "agent")
    with full(disk):
        assert around.started().starts == 2
        assert not inside.passed()
        around.take_back("AZSM0004", "it ended", 2_000_000.0)
        assert (around.choice.version, around.choice.refused) == (INSTALLED, NEXT)
    # There is room again, and it reaches the control plane after all.
    assert inside.passed()
    assert around.choice == Choice(version=NEXT, before=NEXT, highest=NEXT)


def test_a_clock_that_is_set_back_keeps_no_program_out_for_good(upgrades: Upgrades, offer: Offer) -> None:
    offer.add(NEXT)
    upgrades.programs.refuse(NEXT, "AZSM0004", "it ended", offer.now + AGAIN_SECONDS)
    assert not upgrades.take(NEXT, offer.read)
    offer.now -= 366 * 86400.0
    assert upgrades.take(NEXT, offer.read)
