"""Around an agent: real processes of small programs stand for the agent's, good ones and bad ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from wherry.agent.programs import MOST_STARTS, Choice, Programs
from wherry.agent.state import AgentState, InUse
from wherry.agent.supervisor import EXIT_UPGRADE, Supervisor, await_orphan

PASS = "chosen(trial=False, highest=VERSION, before=VERSION)"
CHOOSE = "chosen(version='{0}', trial=True, starts=0)"
MAIN = """
import json, os, signal, sys, time
FOLDER, VERSION = {folder!r}, {version!r}
def chosen(**new):
    path = os.path.join(FOLDER, "chosen.json")
    told = {{**json.load(open(path)), **new}}
    open(path + ".new", "w").write(json.dumps(told))
    os.replace(path + ".new", path)
open(os.path.join(FOLDER, "..", "started"), "a").write(VERSION + " " + " ".join(sys.argv[1:]) + "\\n")
{body}
"""


class Here:
    """An agent's programs, with some that do as they are told."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.programs = Programs(state)

    def add(self, version: str, body: str) -> None:
        package = self.programs.folder / version / "wherry"
        (package / "cli").mkdir(parents=True)
        for module in (package, package / "cli"):
            (module / "__init__.py").touch()
        told = MAIN.format(folder=str(self.programs.folder), version=version, body=body)
        (package / "cli" / "main.py").write_text(textwrap.dedent(told))

    def choose(self, version: str, before: str = "99.0.0", **more: object) -> None:
        self.programs._write(Choice(version, before, **more))  # type: ignore[arg-type]

    @property
    def started(self) -> list[str]:
        return (self.state / "started").read_text().splitlines()

    def run(self, seconds: float = 30) -> int:
        return Supervisor(self.programs, ["agent", "run"], trial_seconds=seconds, clock=lambda: 0.0).run()


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path / "agent")


def test_the_chosen_program_runs_and_its_end_is_ours(here: Here) -> None:
    here.add("99.0.0", "sys.exit(3)")
    here.choose("99.0.0")
    assert here.run() == 3
    assert here.started == ["99.0.0 agent run --supervised"]


def test_one_that_makes_room_is_followed_by_the_one_that_it_chose(here: Here) -> None:
    here.add("99.0.0", f"{CHOOSE.format('99.0.1')}; sys.exit({EXIT_UPGRADE})")
    here.add("99.0.1", f"{PASS}; sys.exit(0)")
    here.choose("99.0.0")
    assert here.run() == 0
    assert [line.split()[0] for line in here.started] == ["99.0.0", "99.0.1"]
    assert here.programs.choice.version == "99.0.1"


@pytest.mark.parametrize("bad", ["sys.exit(1)", "sys.exit(0)", "raise ValueError", "os.kill(os.getpid(), 9)"])
def test_one_that_ends_before_it_has_passed_is_taken_back(here: Here, bad: str) -> None:
    here.add("99.0.0", "sys.exit(4)")
    here.add("99.0.1", bad)
    here.choose("99.0.1", trial=True)
    assert here.run() == 4
    choice = here.programs.choice
    assert (choice.version, choice.trial, choice.refused, choice.code) == (
        "99.0.0", False, "99.0.1", "AZSM0004",
    )  # fmt: skip
    assert "before it had reached the control plane" in choice.detail


@pytest.mark.parametrize("deaf", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN);"])
def test_one_that_does_nothing_is_ended(here: Here, monkeypatch: pytest.MonkeyPatch, deaf: str) -> None:
    monkeypatch.setattr("wherry.agent.supervisor._STOP_SECONDS", 0.3)
    here.add("99.0.0", "sys.exit(4)")
    here.add("99.0.1", f"{deaf} time.sleep(600)")
    here.choose("99.0.1", trial=True)
    assert here.run(0.5) == 4
    assert here.programs.choice.refused == "99.0.1"


def test_one_that_has_passed_may_run_as_long_as_it_likes(here: Here) -> None:
    here.add("99.0.1", f"{PASS}; time.sleep(1); sys.exit(5)")
    here.choose("99.0.1", trial=True)
    assert here.run(0.5) == 5
    assert not here.programs.choice.refused


def test_one_on_trial_that_never_ends_well_is_started_a_few_times_only(here: Here) -> None:
    """The machine was switched off in the middle, again and again."""
    here.add("99.0.0", "sys.exit(4)")
    here.add("99.0.1", "sys.exit(1)")
    here.choose("99.0.1", trial=True, starts=MOST_STARTS)
    assert here.run() == 4
    assert [line.split()[0] for line in here.started] == ["99.0.0"]


def test_a_signal_is_passed_on_and_nothing_is_taken_back(here: Here) -> None:
    polite = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); open(FOLDER + '/up', 'w'); time.sleep(600)"
    )
    here.add("99.0.1", polite)
    here.choose("99.0.1", trial=True)
    program = (
        "import sys; from pathlib import Path; from wherry.agent.programs import Programs;"
        "from wherry.agent.supervisor import Supervisor; sys.exit(Supervisor(Programs(Path(sys.argv[1])), []).run())"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(here.state)]) as process:
        while not (here.programs.folder / "up").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert here.programs.choice.trial
    assert not here.programs.choice.refused


def test_an_agent_whose_supervisor_was_killed_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = AgentState(tmp_path / "agent")
    holds, over = threading.Event(), threading.Event()

    def hold() -> None:
        with state.alone("run"):
            holds.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(30)
    monkeypatch.setattr("wherry.agent.supervisor._STOP_SECONDS", 0.0)
    with pytest.raises(InUse, match=str(os.getpid())):
        await_orphan(state)
    over.set()
    thread.join()
    await_orphan(state)
