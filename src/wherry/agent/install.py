"""Put an agent's services on a machine, and take them away again.

Works on the running system, or below a `root` that is the tree of an image: nothing is started there.  What is there
already as it should be is left alone, so that a second call changes nothing.  Called by `wherry agent install`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wherry.agent import challenges, units
from wherry.agent.units import Wanted
from wherry.model.errors import UsageError

_UNITS = "etc/systemd/system"
_WANTS = f"{_UNITS}/multi-user.target.wants"
_ALL = (units.AGENT, units.HELPER, units.IDENTITY, units.CONSOLE)
_MARK = "# Made by 'wherry agent install'; local changes belong in a drop-in (systemctl edit).\n"
_GROUP = ("etc/sysusers.d/wherry-identity.conf", f"g {units.TOKEN_GROUP} - -\n")
# Azure's clients look in one folder; whatever is put there is gone when the endpoint is.
_FOLDER = (
    "etc/tmpfiles.d/wherry-identity.conf",
    f"L {challenges.FOLDER.parent} - - - - /run/{units.IDENTITY_USER}\n",
)


@dataclass(frozen=True, slots=True)
class Place:
    """A system: the running one, or the tree of an image at `root`."""

    root: Path = Path("/")

    @property
    def running(self) -> bool:
        return self.root == Path("/")

    def check(self) -> None:
        """Raise `UsageError` unless services can be put there by us."""
        if not self.running:
            if not (self.root / "etc").is_dir():
                raise UsageError(f"{self.root} is no tree of a system: it has no folder etc.")
            return
        if not Path("/run/systemd/system").is_dir():
            raise UsageError(
                "This machine is not run by systemd. Start 'wherry agent run' the way it starts its services; "
                "--dry-run prints the units."
            )
        if os.geteuid() != 0:
            raise UsageError("Only root may install services: say sudo, or --dry-run to see the units.")


def contents(wanted: Wanted) -> dict[str, str]:
    """Every file by its path below the root."""
    made = {f"{_UNITS}/{name}": _MARK + text for name, text in units.files(wanted).items()}
    if wanted.identity is not None:
        made |= dict((_GROUP, _FOLDER))
    return made


def install(place: Place, wanted: Wanted) -> Iterator[str]:
    """Write the units, remove those that are not wanted any more, start all; says what it does."""
    place.check()
    _check(place, wanted)
    files = contents(wanted)
    yield from _removed(place, keep=files, consoles=wanted.consoles)
    changed = [name for name, text in files.items() if _write(place.root / name, text)]
    for name in wanted.consoles:
        _link(place.root / _UNITS / units.getty(name), "/dev/null")
    for unit in units.started(wanted):
        file = unit if "@" not in unit else units.CONSOLE
        _link(place.root / _WANTS / unit, f"/{_UNITS}/{file}")
    yield from (f"written: /{name}" for name in changed)
    if wanted.identity is not None:
        _call("systemd-sysusers", f"--root={place.root}", str(place.root / _GROUP[0]))
    if not place.running:
        return
    if wanted.identity is not None:
        _call("systemd-tmpfiles", "--create", f"/{_FOLDER[0]}")
    _call("systemctl", "daemon-reload")
    for name in wanted.consoles:
        _call("systemctl", "stop", units.getty(name))
    for unit in units.started(wanted):
        # Those that run go on with what they were, unless their unit is another one now.
        _call("systemctl", "restart" if changed else "start", unit)
        yield f"runs: {unit}"


def uninstall(place: Place) -> Iterator[str]:
    """Stop and remove every service; the state directory, and with it the identity, stays."""
    place.check()
    removed = list(_removed(place, keep={}, consoles=()))
    yield from removed
    if removed and place.running:
        _call("systemctl", "daemon-reload")
    yield f"{units.STATE} stays: unregister the agent first, or remove it when nobody needs it any more."


def _check(place: Place, wanted: Wanted) -> None:
    if place.running and not os.access(wanted.program, os.X_OK):
        raise UsageError(f"{wanted.program} cannot be run. Name the program with --program.")
    for path in (*wanted.allow_source, *wanted.allow_target):
        if place.running and not path.is_dir():
            raise UsageError(f"{path}: an existing folder is needed, by its whole path.")
    if wanted.identity is not None and (place.root / str(challenges.ARC).lstrip("/")).exists():
        raise UsageError("The agent of Azure Arc is installed here: its identity endpoint is the one to use.")


def _removed(place: Place, keep: dict[str, str], consoles: tuple[str, ...]) -> Iterator[str]:
    """Stop and take away what an earlier call has made and this one does not want."""
    wanted = {f"wherry-console@{one}.service" for one in consoles}
    wants = place.root / _WANTS
    for unit in sorted(one.name for one in wants.glob("wherry-*.service")):
        template = units.CONSOLE if "@" in unit else unit
        if template not in _ALL or (f"{_UNITS}/{template}" in keep and ("@" not in unit or unit in wanted)):
            continue
        if place.running:
            _call("systemctl", "stop", unit)
        (wants / unit).unlink()
        if "@" in unit:
            _unmask(place, unit.removeprefix("wherry-console@").removesuffix(".service"))
        yield f"stopped: {unit}"
    for name in (*(f"{_UNITS}/{unit}" for unit in _ALL), _GROUP[0], _FOLDER[0]):
        file = place.root / name
        if name not in keep and file.exists():
            file.unlink()
            yield f"removed: /{name}"
            if name == _FOLDER[0]:
                _unlink_folder(place)


def _unmask(place: Place, console: str) -> None:
    masked = place.root / _UNITS / units.getty(console)
    if masked.is_symlink() and os.readlink(masked) == "/dev/null":
        masked.unlink()


def _unlink_folder(place: Place) -> None:
    folder = place.root / str(challenges.FOLDER.parent).lstrip("/")
    if folder.is_symlink() and os.readlink(folder) == f"/run/{units.IDENTITY_USER}":
        folder.unlink()


def _write(path: Path, text: str) -> bool:
    """Make a file what it should be; whether it was something else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and not path.is_symlink() and path.read_text() == text:
        return False
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(0o644)
    beside.rename(path)
    return True


def _link(path: Path, to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and os.readlink(path) == to:
        return
    if path.exists() and not path.is_symlink():
        raise UsageError(f"{path} is in the way: it is a file of somebody else's.")
    path.unlink(missing_ok=True)
    path.symlink_to(to)


def _call(*argv: str) -> None:
    """Let a program of systemd work; raises `UsageError` with what it says."""
    program = shutil.which(argv[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        raise UsageError(f"This machine has no program {argv[0]}, which is a part of systemd.")
    done = subprocess.run([program, *argv[1:]], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise UsageError(f"{' '.join(argv)} failed: {said or f'exit {done.returncode}'}")
