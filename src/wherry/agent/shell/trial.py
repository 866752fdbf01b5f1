"""Settings are tried before they are kept: what loses the control plane is taken back.

Of the machine: the service of root takes it back by itself unless it hears from here in time, whatever becomes of this
session.  Of the way out: nothing is kept before the control plane was reached by it.  Called by the entries that set.
"""

from __future__ import annotations

import time

from wherry.agent import network_check
from wherry.agent.machine.client import MachineClient
from wherry.agent.machine.verbs import Setting
from wherry.agent.network_check import Result
from wherry.agent.shell.here import Here
from wherry.agent.shell.terminal import Closed, Interrupted
from wherry.model.errors import UsageError
from wherry.model.way import Way

SECONDS = 90
"""After so many the service takes a setting back by itself."""
_TRY_SECONDS = 60.0
_PAUSE = 1.0


def try_setting(here: Here, setting: Setting) -> None:
    """Set something of this machine and keep it if the control plane is reached as before."""
    machine = MachineClient(here.helper)
    before = _reached(here)
    change = machine.begin(setting, SECONDS)
    try:
        kept = _reached_again(here) if before else _agreed(here)
    except (Interrupted, Closed):
        machine.roll_back(change)
        raise
    if not kept:
        machine.roll_back(change)
        raise UsageError(
            "The control plane was not reached any more. The setting is taken back; all is as it was."
            if before
            else "The setting is taken back; all is as it was."
        )
    machine.confirm(change)
    here.terminal.say("Done. The control plane is reached as before." if before else "Done.")


def try_way(here: Here, way: Way) -> None:
    """Get out another way if the control plane is reached by it."""
    if here.state.server is None:
        here.state.keep_way(way)
        here.terminal.say("Kept. It is tested as soon as a control plane is set.")
        return
    result = _check(here, way)
    if not result.passed:
        last = result.steps[-1]
        here.terminal.say(f"The control plane is not reached so. {last.name}: {last.seen}\n{last.remedy}")
        if _reached(here) or not here.agrees("Nor is it reached now. Keep the new setting all the same?"):
            raise UsageError("Nothing is changed.")
    here.state.keep_way(way)
    here.terminal.say(
        "Done. The control plane is reached; an agent at work begins its connections anew."
        if result.passed
        else "Kept."
    )


def _reached(here: Here) -> bool:
    return here.state.server is not None and _check(here, here.state.way()).passed


def _check(here: Here, way: Way) -> Result:
    return network_check.check(network_check.endpoints(here.state, way)[0])


def _reached_again(here: Here) -> bool:
    """Whether the control plane is reached within a while; a new address takes its time."""
    until = time.monotonic() + _TRY_SECONDS
    while not _reached(here):
        if time.monotonic() >= until:
            return False
        try:
            here.terminal.rest(_PAUSE)
        except Closed:
            # Who sat there came by the old address: that is no reason to give the new one up.
            time.sleep(_PAUSE)
    return True


def _agreed(here: Here) -> bool:
    """Where there is no control plane to be judged by, a person says whether all is well."""
    return here.agrees(f"It is set. Keep it? Without an answer it is taken back in {SECONDS} seconds.")
