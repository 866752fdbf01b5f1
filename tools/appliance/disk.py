"""Make a disk of a tree of files that a machine with a BIOS boots from.  Called by `build`.

One partition with ext4 and extlinux, nothing else: the first boot lets it fill the disk, however large that is.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.appliance.running import run

BYTES = 2 << 30
START = 1 << 20
BOOT_RECORD = Path("/usr/lib/syslinux/mbr/mbr.bin")
PLAN = "label: dos\nstart=2048, type=83, bootable\n"
# extlinux reads neither of the first two; the others are younger than what it knows.
FEATURES = "^64bit,^metadata_csum,^metadata_csum_seed,^orphan_file"
BOOT = """\
SERIAL 0 115200
PROMPT 0
NOESCAPE 1
ALLOWOPTIONS 0
TIMEOUT 10
DEFAULT wherry
LABEL wherry
    LINUX /vmlinuz
    INITRD /initrd.img
    APPEND root=UUID={root} ro console=tty1 console=ttyS0,115200 quiet loglevel=3 systemd.show_status=false panic=30
"""


def made(tree: Path, image: Path) -> list[Path]:
    """The images, for QEMU and for Hyper-V."""
    raw = image.with_suffix(".raw")
    root = str(uuid.uuid4())
    (tree / "etc/fstab").write_text(f"UUID={root} / ext4 errors=remount-ro 0 1\n")
    folder = tree / "boot/extlinux"
    folder.mkdir(exist_ok=True)
    (folder / "extlinux.conf").write_text(BOOT.format(root=root))
    raw.unlink(missing_ok=True)
    with raw.open("wb") as file:
        os.truncate(file.fileno(), BYTES)
    run("sfdisk", "--quiet", str(raw), given=PLAN)
    with raw.open("r+b") as file:
        file.write(BOOT_RECORD.read_bytes()[:440])
    with _loop(raw) as device:
        run("mkfs.ext4", "-q", "-O", FEATURES, "-U", root, "-L", "wherry", "-m", "1", "-d", str(tree), device)
        with _mounted(device, image.with_suffix(".mount")) as mount:
            run("extlinux", "--install", str(mount / "boot/extlinux"))
    images = [image.with_suffix(".qcow2"), image.with_suffix(".vhdx")]
    run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", str(raw), str(images[0]))
    run("qemu-img", "convert", "-O", "vhdx", "-o", "subformat=dynamic", str(raw), str(images[1]))
    raw.unlink()
    return images


@contextmanager
def _loop(raw: Path) -> Iterator[str]:
    device = run("losetup", "--find", "--show", f"--offset={START}", str(raw)).strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@contextmanager
def _mounted(device: str, folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    run("mount", device, str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))
        shutil.rmtree(folder)
