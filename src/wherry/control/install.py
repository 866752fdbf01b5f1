"""The control plane as a service of a machine: put there, and taken away again.

Works on the running system, or below a `root` that is the tree of an image: nothing is started there.  A second call
with the same wishes changes nothing.  Called by `wherry install` and `wherry uninstall`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wherry.model.errors import UsageError
from wherry.model.service_unit import CAGE, command_line, quoted, unit

NAME = "wherry.service"
USER = "wherry"
STATE = "/var/lib/wherry"
CREDENTIAL = "master-key"
UNIT = Path("etc/systemd/system") / NAME

_WANTS = Path("etc/systemd/system/multi-user.target.wants") / NAME
_MARK = "# Made by 'wherry install'; local changes belong in a drop-in (systemctl edit).\n"
_PRIVILEGED = 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the owner of the machine says; `program` is `wherry` by its whole path.

    `master_key` is a file that `systemd-creds encrypt` has made; without it the key lies in the state directory.
    """

    program: Path
    listen: str
    public_url: str | None = None
    further_hosts: str | None = None
    master_key: Path | None = None

    def __post_init__(self) -> None:
        for path in (self.program, self.master_key):
            if path is not None and not path.is_absolute():
                raise UsageError(f"{path}: a whole path is needed, as a service begins in no folder.")
        port = self.listen.rpartition(":")[2]
        if ":" not in self.listen or not port.isdigit() or not 0 < int(port) < 65536:
            raise UsageError(f"'{self.listen}' is not HOST:PORT, such as 0.0.0.0:8443.")


def text(wanted: Wanted) -> str:
    """The unit."""
    command = [str(wanted.program), "serve", "--state", STATE, "--listen", wanted.listen]
    for option, value in (("--public-url", wanted.public_url), ("--further-hosts", wanted.further_hosts)):
        command += [option, value] if value else []
    credential = []
    if wanted.master_key is not None:
        command += ["--master-key", f"credential:{CREDENTIAL}"]
        credential = [("LoadCredentialEncrypted", f"{CREDENTIAL}:{quoted(str(wanted.master_key))}")]
    needed = "CAP_NET_BIND_SERVICE" if int(wanted.listen.rpartition(":")[2]) < _PRIVILEGED else ""
    about = [
        ("Description", "Control plane of the Wherry storage mover"),
        ("Wants", "network-online.target"),
        ("After", "network-online.target"),
        ("StartLimitIntervalSec", "0"),
    ]
    service = [
        ("Type", "notify"),
        ("ExecStart", command_line(command)),
        ("Restart", "always"),
        ("RestartSec", "5"),
        # An upgrade of a large database's schema takes a while.
        ("TimeoutStartSec", "900"),
        ("TimeoutStopSec", "60"),
        ("User", USER),
        ("DynamicUser", "yes"),
        ("StateDirectory", USER),
        ("StateDirectoryMode", "0700"),
        ("UMask", "0077"),
        ("LimitNOFILE", "65536"),
        *credential,
        ("CapabilityBoundingSet", needed),
        ("AmbientCapabilities", needed),
        *CAGE,
        ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
    ]
    return _MARK + unit(about, service, "multi-user.target")


def install(wanted: Wanted, root: Path = Path("/")) -> Iterator[str]:
    """Write the unit and start the service; says what it does."""
    _check(root)
    if root == Path("/") and not os.access(wanted.program, os.X_OK):
        raise UsageError(f"{wanted.program} cannot be run. Name the program with --program.")
    changed = _write(root / UNIT, text(wanted))
    link = root / _WANTS
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(f"/{UNIT}")
    if changed:
        yield f"written: /{UNIT}"
    if root == Path("/"):
        _systemctl("daemon-reload")
        # One that runs goes on with what it was, unless its unit is another one now.
        _systemctl("restart" if changed else "start", NAME)
        yield f"runs: {NAME}"


def uninstall(root: Path = Path("/")) -> Iterator[str]:
    """Stop the service and take its unit away; the state directory stays."""
    _check(root)
    file = root / UNIT
    if not file.exists():
        raise UsageError(f"/{UNIT} is not there: nothing was installed.")
    if not file.read_text().startswith(_MARK):
        raise UsageError(f"/{UNIT} was made by somebody else: remove it by hand.")
    if root == Path("/"):
        _systemctl("stop", NAME)
    (root / _WANTS).unlink(missing_ok=True)
    file.unlink()
    if root == Path("/"):
        _systemctl("daemon-reload")
    yield f"removed: /{UNIT}"
    yield f"{STATE} stays: everything is in there. Keep a backup before you remove it."


def _check(root: Path) -> None:
    if root != Path("/"):
        if not (root / "etc").is_dir():
            raise UsageError(f"{root} is no tree of a system: it has no folder etc.")
        return
    if not Path("/run/systemd/system").is_dir():
        raise UsageError(
            "This machine is not run by systemd. Start 'wherry serve' the way it starts its services; --dry-run prints "
            "the unit."
        )
    if os.geteuid() != 0:
        raise UsageError("Only root may install services: say sudo, or --dry-run to see the unit.")


def _write(path: Path, content: str) -> bool:
    """Make a file what it should be; whether it was something else.  What is somebody else's is left alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and not path.read_text().startswith(_MARK)):
        raise UsageError(f"{path} is in the way: it was made by somebody else.")
    if path.exists() and path.read_text() == content:
        return False
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(content)
    beside.chmod(0o644)
    beside.rename(path)
    return True


def _systemctl(*words: str) -> None:
    program = shutil.which("systemctl", path="/usr/bin:/bin")
    if program is None:
        raise UsageError("This machine has no program systemctl, which is a part of systemd.")
    done = subprocess.run([program, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise UsageError(f"systemctl {' '.join(words)} failed: {said or f'exit {done.returncode}'}")
