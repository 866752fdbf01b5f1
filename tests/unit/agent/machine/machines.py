"""A machine in a folder for tests of its settings, with programs that only note what they were asked for."""

from __future__ import annotations

from pathlib import Path

from wherry.agent.machine.commands import CommandFailed
from wherry.agent.machine.files import Files
from wherry.agent.machine.subjects import System
from wherry.agent.machine.tentative import Tentative


class Noted:
    """Programs that note what they were asked for; the next `failing` of them fail, and what names `refused`."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.failing = 0
        self.refused = ""

    def has(self, program: str) -> bool:
        return True

    def run(self, *argv: str) -> None:
        self.ran.append(argv)
        if self.failing:
            self.failing -= 1
            raise CommandFailed("it does not want to.")
        if self.refused in argv:
            raise CommandFailed(f'Cannot find device "{self.refused}"')


class Machine:
    """A machine in a folder, whose clock stands until it is told to go on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 100.0
        self.commands = Noted()
        self.system = System(Files(root), self.commands)
        self.tentative = self.started()
        for name, text in {
            "etc/hostname": "old\n",
            "etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\told.example old\n",
            "etc/timezone": "UTC\n",
            "etc/resolv.conf": "search example\nnameserver 192.0.2.1\n",
            "lib/systemd/systemd-timesyncd": "",
        }.items():
            self.write(name, text)
        (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/UTC")

    def started(self) -> Tentative:
        return Tentative(self.system, lambda: self.now)

    def systemd(self) -> None:
        self.write("etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service", "")
        for name in ("run/systemd/system/x", "run/systemd/netif/state", "run/systemd/resolve/resolv.conf"):
            self.write(name, "")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def picture(self) -> dict[str, str]:
        """All that is in files, with where links lead to."""
        return {
            str(path.relative_to(self.root)): str(path.readlink()) if path.is_symlink() else path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_symlink() or path.is_file()
        }
