"""Addresses that were set before, given to their interfaces at a start where nothing else does it.

Each interface is for itself: one that is missing keeps no other from its addresses.  It may come a little later, as
those of USB and of hosts of virtual machines do, so it is tried again for a while.  Called by `service`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from wherry.agent.log_lines import tell
from wherry.agent.machine import interfaces
from wherry.agent.machine.commands import CommandFailed
from wherry.agent.machine.subjects import System

_RETRY_SECONDS = 5.0
_SECONDS = 600.0


class Kept:
    """The settings of one machine's interfaces that have still to be applied."""

    def __init__(self, system: System, clock: Callable[[], float]) -> None:
        self._system = system
        self._clock = clock
        self._missing: set[str] = set()
        self._next = self._until = 0.0

    def begin(self) -> None:
        """Apply all of them; what does not work is left for `turn`."""
        self._missing = {one.interface for one in interfaces.settings(self._system.files)}
        self._until = self._clock() + _SECONDS
        for name, why in self._apply().items():
            tell(
                logging.ERROR, "settings", f"The addresses of {name} could not be set: {why}", interface=name
            )

    def turn(self) -> None:
        """Try once more what did not work, when it is time."""
        if not self._missing or self._clock() < self._next:
            return
        failed = self._apply()
        if self._clock() >= self._until:
            self._missing.clear()
            for name, why in failed.items():
                text = f"The addresses of {name} are given up until the next start: {why}"
                tell(logging.ERROR, "settings", text, interface=name)

    def _apply(self) -> dict[str, str]:
        """What is missing by the files as they are now; why, by its interface, where it still is."""
        failed: dict[str, str] = {}
        wanted = [one for one in interfaces.settings(self._system.files) if one.interface in self._missing]
        for setting in wanted if not self._system.has_networkd else ():
            try:
                interfaces.apply(self._system.commands, setting)
            except (CommandFailed, OSError) as trouble:
                failed[setting.interface] = str(trouble)
            else:
                tell(logging.INFO, "settings", "Addresses are set as before.", interface=setting.interface)
        self._missing = set(failed)
        self._next = self._clock() + _RETRY_SECONDS
        return failed
