"""A change that is taken back by itself unless somebody confirms it in time.

Before anything is touched, what was there is written down; only a confirmation, or the way back, removes that.  So a
change that a crash or a power cut has left half made is taken back at the next start.  A way back that fails is never
given up: it is tried again, after a minute less and less often.  One change at a time.  Called by `service`.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wherry.agent.log_lines import tell
from wherry.agent.machine.commands import CommandFailed
from wherry.agent.machine.files import Content
from wherry.agent.machine.subjects import Subject, System, subject
from wherry.agent.machine.verbs import Setting, setting, told
from wherry.model.errors import UsageError

_JOURNAL = "/var/lib/wherry-helper/tentative.json"
_RETRY_SECONDS = 5.0
_TRIES = 12
_MOST_DOUBLED = 7


@dataclass
class _Pending:
    """A change that waits; `until` on the clock, `tries` ways back that have failed."""

    change: str
    setting: Setting
    before: dict[str, Content | None]
    live: Any
    until: float
    tries: int = 0


class Tentative:
    """The changes of one machine."""

    def __init__(self, system: System, clock: Callable[[], float]) -> None:
        self._system = system
        self._clock = clock
        self._pending: _Pending | None = None

    @property
    def waits(self) -> float | None:
        """Seconds until something has to be taken back; None while nothing waits."""
        return None if self._pending is None else max(0.0, self._pending.until - self._clock())

    def picture(self) -> dict[str, Any] | None:
        """What waits to be confirmed."""
        if self._pending is None:
            return None
        one = self._pending
        return {"change": one.change, "verb": one.setting.verb, "secondsLeft": round(self.waits or 0.0, 1)}

    def recover(self) -> None:
        """Take back what an earlier process has left; called at the start."""
        content = self._system.files.read(_JOURNAL)
        if content is None:
            return
        try:
            found = json.loads(content.data)
            made = setting(found["verb"], found["arguments"])
            before = {
                str(name): Content.from_json(one) if one is not None else None
                for name, one in found["files"].items()
            }
            self._pending = _Pending(str(found["change"]), made, before, found["live"], self._clock())
        except (ValueError, KeyError, TypeError, AttributeError, UsageError) as broken:
            tell(logging.ERROR, "change.lost", f"What a change has left cannot be read: {broken}")
            self._system.files.write(_JOURNAL, None)
            return
        self.expire()

    def begin(self, wanted: Setting, seconds: float) -> str:
        """Make a change for so long; its id.  Raises `UsageError`; `CommandFailed` when it was taken back."""
        if self._pending is not None and self._pending.tries >= _TRIES:
            raise UsageError(
                "An earlier change could not be taken back so far; it is tried again and again. The log of "
                f"wherry-helper says why. Where it has become needless, remove {_JOURNAL} and restart wherry-helper."
            )
        if self._pending is not None:
            raise UsageError(
                "Another change waits to be confirmed or to be taken back. Try again in a minute."
            )
        about = subject(wanted)
        files = about.wanted(self._system)
        before = {name: self._system.files.read(name) for name in files}
        made = _Pending(secrets.token_hex(8), wanted, before, about.live(self._system), self._clock())
        self._write_down(made)
        self._pending = made
        try:
            for name, content in files.items():
                self._system.files.write(name, content)
            about.settle(self._system, None)
        except (CommandFailed, OSError) as failed:
            self._back()
            now = "It is being taken back." if self._is_stuck() else "The machine is as it was."
            raise CommandFailed(f"{failed} {now}") from failed
        made.until = self._clock() + seconds
        tell(logging.INFO, "change.tentative", "A setting is tried.", verb=wanted.verb, **told(wanted))
        return made.change

    def confirm(self, change: str) -> None:
        """Keep a change; raises `UsageError` when it is no longer there."""
        pending = self._named(change)
        if pending.tries:
            raise UsageError("That change is being taken back already: it was not confirmed in time.")
        self._system.files.write(_JOURNAL, None)
        self._pending = None
        tell(logging.INFO, "change.kept", "A setting is kept.", verb=pending.setting.verb)

    def roll_back(self, change: str) -> None:
        """Take a change back; raises `UsageError` when it is no longer there, `CommandFailed` when it stays."""
        self._named(change)
        self._back()
        if self._is_stuck():
            raise CommandFailed(
                "The setting could not be taken back yet; that is tried again. The log of wherry-helper says why."
            )

    def expire(self) -> None:
        """Take back what nobody has confirmed in time."""
        if self._pending is not None and self._pending.until <= self._clock():
            tell(logging.WARNING, "change.expired", "Nobody has confirmed a setting; it is taken back.")
            self._back()

    def _is_stuck(self) -> bool:
        return self._pending is not None

    def _named(self, change: str) -> _Pending:
        self.expire()
        if self._pending is None or self._pending.change != change:
            raise UsageError("That change was taken back already: it was not confirmed in time.")
        return self._pending

    def _back(self) -> None:
        """The way back; tried again a little later when the system does not go along."""
        pending = self._pending
        if pending is None:
            return
        about: Subject = subject(pending.setting)
        try:
            for name, content in pending.before.items():
                self._system.files.write(name, content)
            about.settle(self._system, pending.live)
        except (CommandFailed, OSError) as failed:
            self._try_later(pending, str(failed))
            return
        self._system.files.write(_JOURNAL, None)
        self._pending = None
        tell(logging.INFO, "change.back", "A setting is taken back.", verb=pending.setting.verb)

    def _try_later(self, pending: _Pending, why: str) -> None:
        """What was there stays written down: nobody but its reader could bring this machine back."""
        pending.tries += 1
        pause = _RETRY_SECONDS * 2 ** min(max(0, pending.tries - _TRIES), _MOST_DOUBLED)
        pending.until = self._clock() + pause
        final = pending.tries == _TRIES
        text = f"A setting could not be taken back: {why}"
        if final:
            text += f" It needs somebody; what it was stays in {_JOURNAL}, and it is tried on, less and less often."
        level = logging.CRITICAL if final else logging.ERROR
        tell(level, "change.stuck", text, tries=pending.tries, final=final)

    def _write_down(self, pending: _Pending) -> None:
        document = {
            "change": pending.change,
            "verb": pending.setting.verb,
            "arguments": told(pending.setting),
            "files": {name: one.to_json() if one else None for name, one in pending.before.items()},
            "live": pending.live,
        }
        self._system.files.write(_JOURNAL, Content(json.dumps(document).encode()), 0o600)
