"""A running agent takes the program that the control plane offers, if it comes from a publisher of its owner's choice.

Nothing is fetched beyond the manifest unless its signature holds and it is later than what ran here before.  When the
package is unpacked the agent gives its leases back and ends; `supervisor` starts the new program.  Called by `daemon`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wherry import __version__
from wherry.agent import packages
from wherry.agent.log_lines import tell
from wherry.agent.programs import Programs
from wherry.client.connection import Unreachable
from wherry.model.errors import ApiError, UsageError
from wherry.model.versions import Version
from wherry.trust.keys import PublicKey
from wherry.trust.packages import Manifest, publishers_of
from wherry.trust.signed import Untrusted

AGAIN_SECONDS = 3600.0
"""How long a version that did not do is left alone."""
_SOON_SECONDS = 300.0

Read = Callable[[str, int, int], bytes]
"""Bytes of the package of a version: from an offset, at most so many."""


@dataclass(frozen=True, slots=True)
class Upgrades:
    """Takes programs signed by `publishers` into `programs`."""

    programs: Programs
    publishers: tuple[PublicKey, ...]
    clock: Callable[[], float] = time.time

    def take(self, offered: str, read: Read) -> bool:
        """Install the version that is offered; True when it waits to be started in place of this program."""
        if not self._wanted(offered):
            return False
        tell(logging.INFO, "upgrade.begin", f"Version {offered} is offered.", version=offered)
        try:
            self._install(offered, read)
        except Untrusted as refused:
            self._refuse(offered, "AZSM0002", str(refused), AGAIN_SECONDS)
        except (Unreachable, ApiError) as trouble:
            self._refuse(offered, "AZSM0001", str(trouble), _SOON_SECONDS)
        except OSError as trouble:
            self._refuse(offered, "AZSM0003", os.strerror(trouble.errno or 0), _SOON_SECONDS)
        else:
            tell(logging.INFO, "upgrade.installed", f"Version {offered} takes over.", version=offered)
            return True
        return False

    def passed(self) -> None:
        """The program that runs has reached the control plane: its trial, if it was one, is over."""
        if self.programs.passed():
            tell(logging.INFO, "upgrade.done", f"Version {__version__} does its work.", version=__version__)

    def told(self) -> dict[str, str] | None:
        """What a heartbeat says of a version that did not do; None while there is none."""
        now = self.programs.choice
        return {"version": now.refused, "code": now.code, "detail": now.detail} if now.refused else None

    def _wanted(self, offered: str) -> bool:
        now = self.programs.choice
        try:
            later = Version.parse(offered) > Version.parse(__version__)
        except UsageError:
            return False
        # No more than it can be, where the clock was set back.
        waits = 0 < now.again_at - self.clock() <= AGAIN_SECONDS
        return later and not (now.refused == offered and waits)

    def _install(self, offered: str, read: Read) -> None:
        """Fetch it into a file, then unpack that; the manifest is judged before anything else is asked for."""
        with self.programs.fetching() as package:
            with package.open("wb") as file:
                manifest = packages.fetch(
                    lambda offset, size: read(offered, offset, size),
                    self.publishers,
                    lambda manifest: self._judge(manifest, offered),
                    file.write,
                )
            self.programs.install(package, manifest)

    def _judge(self, manifest: Manifest, offered: str) -> None:
        version = Version.parse(manifest.version)
        if manifest.version != offered:
            raise Untrusted(f"it is version {version}")
        if version < Version.parse(self.programs.choice.highest):
            raise Untrusted("a later version has run here before")
        if manifest.python != packages.PYTHON:
            raise Untrusted(f"it is for Python {manifest.python[:8]}, here is {packages.PYTHON}")

    def _refuse(self, version: str, code: str, why: str, seconds: float) -> None:
        self.programs.refuse(version, code, why, self.clock() + seconds)
        tell(
            logging.ERROR,
            "upgrade.refused",
            f"Version {version} is not taken: {why}.",
            version=version,
            code=code,
        )


def publishers_in(files: tuple[Path, ...]) -> tuple[PublicKey, ...]:
    """The publishers that the owner of the machine names; raises `UsageError`, and `KeyTrouble` for a bad file."""
    try:
        return publishers_of([file.read_bytes() for file in files])
    except OSError as trouble:
        raise UsageError(
            f"The publisher's key {trouble.filename} cannot be read: {trouble.strerror}."
        ) from trouble
