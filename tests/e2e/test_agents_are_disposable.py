"""What can be lost of an agent: its registration in the middle, on a real terminal; its password; the agent itself."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Place
from tests.e2e.shell import Shell
from tests.integration.agents import GROUP, until
from tests.integration.test_agent_ssh import GOOD, Door
from tests.site import Site, assert_same
from tests.talk import Talk, on_terminal
from wherry.agent.admin_password import AdminPassword
from wherry.agent.shell.menus import MENUS, QUIT
from wherry.agent.state import AgentState
from wherry.control import breakglass
from wherry.model import ids

CODE = re.compile(r"enter the code ([A-Z0-9-]+)\.")
ENTRY = str(1 + next(at for at, one in enumerate(MENUS["main"].entries) if one.does == "registration"))
LEAVE = str(1 + next(at for at, one in enumerate(MENUS["main"].entries) if one.does == QUIT))
FILES = 20
LOST = """
import os, signal, sys
from pathlib import Path
from wherry.agent.register import Wanted, register
from wherry.agent.state import AgentState
AgentState.keep_registration = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
steps = register(AgentState(Path(sys.argv[1])), Wanted(*sys.argv[2:6], sys.argv[6], Path(sys.argv[7])))
for step in steps:
    if step.code is not None:
        print(step.code.user_code, flush=True)
"""


@pytest.fixture
def state(here: Site, tmp_path: Path) -> AgentState:
    """An agent that knows its control plane."""
    made = AgentState(tmp_path / "agent")
    made.trust_server(here.served.url, Path(here.served.ca_file).read_bytes())
    return made


def answers(here: Site, name: str) -> list[tuple[str, str]]:
    """Each prompt of a registration, in its order, and what is typed there."""
    mover = ids.ResourceId.parse(here.mover)
    return [
        ("Subscription ID", mover.subscription),
        ("Resource group name", str(mover.group)),
        ("Storage mover resource name", mover.name),
        ("Agent name", name),
        ("Private Link Scope", ""),
        ("Tags", ""),
        ("QR code", "n"),
    ]


def made(here: Site) -> list[str]:
    """All that registrations make."""
    api, subscription = here.admin.api, f"/subscriptions/{here.served.subscription}/providers"
    kinds = (
        f"{here.mover}/agents",
        f"{subscription}/Microsoft.HybridCompute/machines",
        f"{subscription}/Microsoft.Authorization/roleAssignments",
    )
    return sorted(str(one["id"]) for kind in kinds for one in api.list(kind))


@contextmanager
def shell(state: AgentState, code: int = 0) -> Iterator[Talk]:
    command = [sys.executable, "-m", "wherry.cli.main", "agent", "shell", "--state", str(state.directory)]
    with on_terminal(command, os.environ, code) as talk:
        yield talk


def fill_in(talk: Talk, typed: list[tuple[str, str]]) -> None:
    talk.type("xdmsh> ", f"{ENTRY}\r")
    for prompt, answer in typed:
        talk.type(prompt, f"{answer}\r")


def test_ctrl_c_at_every_prompt_leads_back_and_leaves_nothing(here: Site, state: AgentState) -> None:
    typed, before = answers(here, "pressed"), made(here)
    with shell(state) as talk:
        for asked in range(len(typed)):
            fill_in(talk, typed[:asked])
            talk.type(typed[asked][0], "\x03")
            talk.wait_for("Stopped.")
        # The last wait is that for a person.
        fill_in(talk, typed)
        talk.type("Ctrl-C ends it", "\x03")
        talk.wait_for("Stopped.")
        assert state.registration() is None
        assert made(here) == before
        fill_in(talk, typed)
        talk.wait_for("Ctrl-C ends it")
        codes = CODE.findall(talk.shown)
        breakglass.approve(here.served.state, codes[-1])
        talk.wait_for("[registered] Registered as ")
        talk.type("xdmsh> ", f"{LEAVE}\r")
    assert len(made(here)) == len(before) + 2
    # What somebody approves that nobody waits for any more registers nothing.
    breakglass.approve(here.served.state, codes[0])
    assert len(made(here)) == len(before) + 2


@pytest.mark.parametrize("asked", ["Agent name", "Ctrl-C ends it"])
def test_a_terminal_that_is_closed_leaves_nothing(here: Site, state: AgentState, asked: str) -> None:
    typed, before = answers(here, "closed"), made(here)
    known = [prompt for prompt, _ in typed]
    with shell(state, code=-signal.SIGHUP) as talk:
        fill_in(talk, typed[: known.index(asked)] if asked in known else typed)
        talk.wait_for(asked)
        talk.hang_up()
    assert state.registration() is None
    assert made(here) == before
    assert state.holder("register") is None


def test_a_line_that_breaks_ends_a_registration_over_ssh(here: Site, tmp_path: Path) -> None:
    typed, before = answers(here, "over-ssh"), made(here)
    door = Door(tmp_path / "door")
    try:
        door.state.trust_server(here.served.url, Path(here.served.ca_file).read_bytes())
        AdminPassword(door.state.directory).change(GOOD)
        with door.talk(code=255) as talk:
            fill_in(talk, typed)
            talk.wait_for("Ctrl-C ends it")
            assert door.state.holder("register") is not None
            code = CODE.findall(talk.shown)[-1]
            talk.hang_up()
        until(lambda: door.state.holder("register") is None)
        breakglass.approve(here.served.state, code)
        assert door.state.registration() is None
        assert made(here) == before
        here.admin.register(door.state, here.mover, "over-ssh")
        assert len(made(here)) == len(before) + 2
    finally:
        door.service.close()


def test_a_registration_that_the_power_cut_is_completed_by_the_next_try(
    here: Site, state: AgentState
) -> None:
    """The control plane has made the agent; what it answered was never written down."""
    mover, before = ids.ResourceId.parse(here.mover), made(here)
    wanted = [mover.subscription, str(mover.group), mover.name, "cut", here.served.url, here.served.ca_file]
    with subprocess.Popen(
        [sys.executable, "-c", LOST, str(state.directory), *wanted], stdout=subprocess.PIPE, text=True
    ) as cut:
        assert cut.stdout is not None
        breakglass.approve(here.served.state, cut.stdout.readline().strip())
        assert cut.wait(60) == -signal.SIGKILL
    assert state.registration() is None
    left = made(here)
    assert len(left) == len(before) + 2

    here.admin.register(state, here.mover, "cut")

    known = state.registration()
    assert known is not None
    assert made(here) == left
    assert here.admin.api.get(known.agent_id)["properties"]["wherry"]["key"] == state.key().thumbprint


def test_without_its_password_an_agent_works_on_and_another_can_follow_it(
    here: Site, place: Place, tmp_path: Path
) -> None:
    """What nobody knows any more opens nothing, and keeps nothing from going on; what was copied stays copied."""
    first, second = here.agent(), here.agent()
    first.more = ("--ssh-listen", "127.0.0.1:0")
    AdminPassword(first.state.directory).change(secrets.token_urlsafe(24))
    own = {"WHERRY_GROUP": GROUP, "WHERRY_MOVER": here.mover.rpartition("/")[2], "WHERRY_PROJECT": "project"}
    shell = Shell(tmp_path, here.served.env | own | {"WHERRY_CONFIG_DIR": str(here.folder / "config")})
    for number in range(FILES):
        (place.source / f"file-{number}").write_bytes(b"x" * number)
    job = here.job(place.source, place.target, first)
    name = job.path.rpartition("/")[2]
    try:
        for agent in (first, second):
            agent.start(place.source.parent, workers=1)
        job.start()
        job.end()
        job.assert_each_once(FILES)
        again = shell.run("job", "start", "--name", name, "--watch").data["properties"]
        assert (again["itemsTransferred"], again["itemsNoTransferNeeded"]) == (0, FILES)

        for number in range(3):
            (place.source / f"new-{number}").write_bytes(b"y")
        shell.run("job", "update", "--name", name, "--agent", second.name)
        job.start()
        last = job.end()
        assert (last["itemsTransferred"], last["itemsNoTransferNeeded"]) == (3, FILES)
        assert second.lines("lease.done", run=job.run_path.rpartition("/")[2])
    finally:
        first.end()
        second.end()
    moved = {row["itemPath"] for row in job.rows() if row["transferResult"] == "Transferred"}
    assert moved == {"new-0", "new-1", "new-2"}
    assert_same(place.source, place.target)
