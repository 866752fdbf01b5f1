"""Build the appliance: a small Debian that is nothing but an agent, as a disk for virtual machines.

    python -m tools.appliance.build [--output DIR] [--mirror 'deb URL SUITE COMPONENT']...

Writes `wherry-appliance.qcow2` and `wherry-appliance.vhdx`.  Needs root (it makes a file system and mounts it) and the
programs of `PROGRAMS`.  What is laid over Debian as it stands is in `tree/`.  Called by `make appliance`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.appliance import disk
from tools.appliance.running import run
from wherry.agent import install as services
from wherry.agent.units import Wanted

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
NAME = "wherry-appliance"
SUITE = "bookworm"
PYTHON = "3.11"
PACKAGES = (
    "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "libnss-systemd", "dbus", "udev",
    "linux-image-cloud-amd64", "initramfs-tools", "zstd", "iproute2", "nftables", "fdisk", "e2fsprogs", "kmod",
    "python3", "ca-certificates", "tzdata",
)  # fmt: skip
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*")
KEPT = "/usr/share/doc/*/copyright"
PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "sfdisk": "fdisk",
    "mkfs.ext4": "e2fsprogs",
    "extlinux": "extlinux",
    "qemu-img": "qemu-utils",
}
"""What is needed, and the package of Debian that brings it."""

PROGRAM = Path("/opt/wherry/bin/wherry")
SERVICES = Wanted(
    PROGRAM,
    # Where the shares and disks of the machine are mounted.
    allow_source=(Path("/mnt"), Path("/media")),
    ssh_listen="0.0.0.0:22",
    newer_menus=True,
    consoles=("tty1", "ttyS0"),
)
ENABLED = (
    "systemd-networkd", "systemd-resolved", "systemd-timesyncd", "nftables", "wherry-first-boot", "wherry-grow",
)  # fmt: skip
MASKED = ("ctrl-alt-del.target", "apt-daily.timer", "apt-daily-upgrade.timer")


def main() -> None:
    """Read the options and build."""
    options = argparse.ArgumentParser(description="Build the appliance of the agent.")
    options.add_argument("--output", type=Path, default=CHECKOUT / "build" / "appliance")
    options.add_argument(
        "--mirror", action="append", help="a line of sources.list; by default this machine's own"
    )
    told = options.parse_args()
    check()
    begun = time.monotonic()
    output: Path = told.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    tree = output / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    debian(tree, told.mirror or mirrors())
    agent(tree, output / "wheels")
    settle(tree)
    for image in disk.made(tree, output / NAME):
        print(f"{image} {image.stat().st_size >> 20} MiB")
    shutil.rmtree(tree)
    print(f"built in {time.monotonic() - begun:.0f} s")


def check() -> None:
    """End here when something is missing, and say what to do."""
    if os.geteuid() != 0:
        sys.exit(
            "The appliance is built by root: it makes a file system and mounts it. Say: sudo make appliance"
        )
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing or not disk.BOOT_RECORD.exists():
        sys.exit(f"Install first: apt-get install {' '.join(missing)} syslinux-common")


def mirrors() -> list[str]:
    """Where this machine has its Debian from."""
    lines = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI) $(COMPONENT)",
         "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    suites = {SUITE, f"{SUITE}-updates", f"{SUITE}-security"}
    found = [line.split() for line in lines if line.startswith("Debian ")]
    chosen = [
        f"deb {place} {suite} {part}" for _, suite, place, part in found if suite in suites and part == "main"
    ]
    if not any(f" {SUITE} " in line for line in chosen):
        sys.exit(
            f"This machine knows no mirror of Debian {SUITE}: name one with --mirror 'deb URL {SUITE} main'."
        )
    return list(dict.fromkeys(chosen))


def debian(tree: Path, sources: list[str]) -> None:
    """A Debian without anything that nobody asked for."""
    left_out = [f"--dpkgopt=path-exclude={one}" for one in LEFT_OUT] + [f"--dpkgopt=path-include={KEPT}"]
    recommends = '--aptopt=APT::Install-Recommends "false"'
    run("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}", recommends, *left_out,
        SUITE, str(tree), *sources)  # fmt: skip


def agent(tree: Path, wheels: Path) -> None:
    """This checkout's program with all that it needs, in an environment of its own."""
    shutil.rmtree(wheels, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(CHECKOUT))
    (wheel,) = wheels.glob("wherry-*.whl")
    fits = [f"--platform=manylinux{one}_x86_64" for one in ("2014", "_2_17", "_2_28", "_2_34")]
    run(*pip, "download", "--dest", str(wheels), "--only-binary=:all:", f"--python-version={PYTHON}", *fits,
        "--constraint", str(CHECKOUT / "constraints.txt"), str(wheel), "pip")  # fmt: skip
    inside = tree / "tmp" / "wheels"
    shutil.copytree(wheels, inside)
    (installer,) = inside.glob("pip-*.whl")
    within = ("chroot", str(tree))
    run(*within, "python3", "-m", "venv", "--without-pip", "/opt/wherry")
    options = (
        "--quiet",
        "--no-index",
        "--no-cache-dir",
        "--root-user-action=ignore",
        "--find-links=/tmp/wheels",
    )
    run(*within, "/opt/wherry/bin/python", f"/tmp/wheels/{installer.name}/pip", "install", *options,
        f"/tmp/wheels/{wheel.name}")  # fmt: skip
    shutil.rmtree(inside)
    version = run(*within, str(PROGRAM), "--version")
    print(version.strip())


def settle(tree: Path) -> None:
    """Lay our files over it, choose what runs, and take away what each copy has to make for itself."""
    shutil.copytree(HERE / "tree", tree, dirs_exist_ok=True, symlinks=True)
    for path in (HERE / "tree").rglob("*"):
        os.chown(tree / path.relative_to(HERE / "tree"), 0, 0)
    list(services.install(services.Place(tree), SERVICES))
    run("systemctl", f"--root={tree}", "enable", "--quiet", *ENABLED)
    run("systemctl", f"--root={tree}", "mask", "--quiet", *MASKED)
    (tree / "etc/hostname").write_text("wherry-agent\n")
    (tree / "etc/hosts").write_text("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\twherry-agent\n")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    (tree / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    # systemd makes the one, and our first boot takes the other away.
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/wherry-new").write_text("")
    (tree / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    (tree / "var/log/journal").mkdir(exist_ok=True)
    for folder in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(tree / folder, ignore_errors=True)
        (tree / folder).mkdir(parents=True)


if __name__ == "__main__":
    main()
