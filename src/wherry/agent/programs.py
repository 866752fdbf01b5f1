"""Which program the agent of this machine runs: the installed one, or one that came as a package.

    programs/<version>/   what a package unpacked to      programs/chosen.json   which of them runs, and since when

A program that came is on trial until it has reached the control plane; the one before it stays until then, and takes
over again when it fails.  Every change is one replaced file, so that a power cut leaves either state.  Called by
`upgrade` in the running agent and by `supervisor` around it, never by both at once for the same field: the agent
chooses and passes, the supervisor counts and takes back.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wherry import __version__
from wherry.agent import packages
from wherry.agent.log_lines import tell
from wherry.client import kept_file
from wherry.model.errors import UsageError
from wherry.model.versions import Version
from wherry.trust.packages import Manifest

INSTALLED = ""
"""Stands for the program that the machine's owner has installed."""
MOST_STARTS = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs: `version` (or `INSTALLED`), and the one `before` it.

    `trial`: it has not passed yet; `starts` counts its starts until then.  `highest` is the latest version that ever
    passed: nothing older is taken.  `refused` is the version that did not do, with its code and why; `again_at` (Unix
    seconds) is when it may be tried once more.
    """

    version: str = INSTALLED
    before: str = INSTALLED
    trial: bool = False
    starts: int = 0
    highest: str = __version__
    refused: str = ""
    code: str = ""
    detail: str = ""
    again_at: float = 0.0


class Programs:
    """The programs of one agent, in its state directory."""

    def __init__(self, state: Path) -> None:
        self.folder = kept_file.private_folder(state / "programs")
        self._unkept: tuple[Choice, Choice] | None = None
        """What is on the disk, and what would be there if it were not full."""

    @property
    def choice(self) -> Choice:
        """What is chosen; the installed program where nothing is, or what is written makes no sense."""
        found = self._on_disk()
        if self._unkept is not None and self._unkept[0] == found:
            return self._unkept[1]
        return found

    def _on_disk(self) -> Choice:
        try:
            found = Choice(**json.loads((self.folder / "chosen.json").read_text()))
            for version in filter(None, (found.version, found.before, found.highest)):
                Version.parse(version)
        except (FileNotFoundError, ValueError, TypeError, UsageError):
            return Choice()
        return found

    def path(self, version: str) -> Path | None:
        """Where a program lies; None for the installed one, also in place of an older or vanished one."""
        tree = self.folder / version
        if version == INSTALLED or Version.parse(version) <= Version.parse(__version__) or not tree.is_dir():
            return None
        return tree

    @contextmanager
    def fetching(self) -> Iterator[Path]:
        """Where a package may be put while the block runs."""
        package = self.folder / ".package"
        package.unlink(missing_ok=True)
        try:
            yield package
        finally:
            package.unlink(missing_ok=True)

    def install(self, package: Path, manifest: Manifest) -> None:
        """Unpack a package and choose it, on trial; raises `Untrusted` and `OSError`, and nothing has changed then."""
        tree, place = self.folder / ".tree", self.folder / manifest.version
        shutil.rmtree(tree, ignore_errors=True)
        try:
            packages.unpack(package, manifest, tree)
            shutil.rmtree(place, ignore_errors=True)
            tree.rename(place)
            # What is chosen must be there after a power cut.
            os.sync()
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        now = self.choice
        self._write(replace(now, version=manifest.version, before=now.version, trial=True, starts=0))

    def started(self) -> Choice:
        """Count a start of a program on trial; what then is chosen."""
        now = self.choice
        if now.trial:
            now = replace(now, starts=now.starts + 1)
            self._note(now)
        return now

    def passed(self) -> bool:
        """The program on trial does: keep it, and drop those before it.  Whether there was a trial."""
        now = self._on_disk()
        if not now.trial:
            return False
        highest = str(max(Version.parse(now.highest), Version.parse(now.version)))
        if not self._note(Choice(version=now.version, before=now.version, highest=highest)):
            return False
        for tree in self.folder.iterdir():
            if tree.is_dir() and tree.name != now.version:
                shutil.rmtree(tree, ignore_errors=True)
        return True

    def take_back(self, code: str, detail: str, again_at: float) -> None:
        """The program on trial does not do: the one before it is the one to run."""
        now = self.choice
        back = replace(now, version=now.before, trial=False, starts=0)
        self._note(_refused(back, now.version, code, detail, again_at))

    def refuse(self, version: str, code: str, detail: str, again_at: float) -> None:
        """Note that a version did not do, so that it is not tried again and again."""
        self._note(_refused(self.choice, version, code, detail, again_at))

    def _note(self, choice: Choice) -> bool:
        """Write, or remember where the disk is full: an agent that cannot write goes on all the same."""
        before = self._on_disk()
        try:
            self._write(choice)
        except OSError as trouble:
            self._unkept = before, choice
            tell(logging.WARNING, "disk", f"Which program runs cannot be written: {trouble.strerror}.")
            return False
        self._unkept = None
        return True

    def _write(self, choice: Choice) -> None:
        kept_file.replace(self.folder / "chosen.json", json.dumps(asdict(choice)).encode() + b"\n")


def _refused(now: Choice, version: str, code: str, detail: str, again_at: float) -> Choice:
    return replace(now, refused=version, code=code, detail=detail[:500], again_at=again_at)
