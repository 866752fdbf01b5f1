"""Shares of a Samba that we manage, by a user of its own for each run.

The server is reached by a command that its operator named (`allowed`), usually ssh to `samba_host` there.  It is run
without a shell, with one of four fixed verbs behind its own words; everything else goes to its standard input as JSON:

    open    {id, share, access, password, until}   answers {"user": NAME}, or {"full": true}
    extend  {id, until}
    close   {id}                                   answers when the user is gone and its sessions with it
    list    {}                                     answers {"ids": [...]} of all that are open
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wherry.control.broker.port import Issued, Json, Material, NoSlot, Wanted
from wherry.model.drivers import SMB_USER, DriverFacts
from wherry.model.errors import RunError, Unavailable

Verb = Literal["open", "extend", "close", "list"]
_SECONDS = 30.0
_LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class SmbUser:
    """The driver; `commands` by host in lower case."""

    commands: Mapping[str, Sequence[str]]

    @property
    def facts(self) -> DriverFacts:
        return SMB_USER

    def issue(self, wanted: Wanted, until: float) -> Issued:
        password = secrets.token_urlsafe(24)
        access = "read" if wanted.access == "read" else "write"
        told = {
            "id": wanted.id, "share": wanted.told["share"], "access": access, "password": password,
            "until": int(until),
        }  # fmt: skip
        answer = self._run(wanted.told, "open", told)
        if answer.get("full") is True:
            raise NoSlot
        user = answer.get("user")
        if not isinstance(user, str) or not user:
            raise Unavailable("the command of the Samba server answers without a user")
        return Issued(Material(password, user), float(int(until)))

    def renew(self, wanted: Wanted, material: Material, until: float) -> Issued:
        self._run(wanted.told, "extend", {"id": wanted.id, "until": int(until)})
        return Issued(material, float(int(until)))

    def withdraw(self, wanted: Wanted, material: Material) -> None:
        self._run(wanted.told, "close", {"id": wanted.id})

    def names(self, told: Json) -> list[str]:
        found = self._run(told, "list", {}).get("ids")
        return [str(one) for one in found] if isinstance(found, list) else []

    def _run(self, place: Json, verb: Verb, told: Mapping[str, Any]) -> Json:
        host = str(place["host"])
        command = self.commands.get(host.lower())
        if command is None:
            raise RunError("AZSM1024", f"The operator has named no command for the Samba server '{host}'.")
        try:
            done = subprocess.run(
                [*command, verb], input=json.dumps(told).encode(), capture_output=True, timeout=_SECONDS,
                check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}, cwd="/",
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as trouble:
            # Never the trouble itself: it may hold what was sent.
            raise Unavailable(f"the command for '{host}' cannot be run ({type(trouble).__name__})") from None
        return _answer(host, verb, done)


def _answer(host: str, verb: Verb, done: subprocess.CompletedProcess[bytes]) -> Json:
    if done.returncode == 0 and len(done.stdout) <= _LONGEST:
        try:
            found = json.loads(done.stdout or b"{}")
        except ValueError:
            found = None
        if isinstance(found, dict):
            return found
    raise Unavailable(f"the command for '{host}' ended its '{verb}' with {done.returncode}")
