"""The appliance in an emulator: a throw-away layer over its disk, one serial line, ports that lead to it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.talk import Talk

HOST = "10.0.2.2"
"""The host as the machine sees it."""
QEMU = "qemu-system-x86_64"
_LOGIN = "Local user: "


@dataclass
class VirtualMachine:
    """One that runs; `ports` of the host lead to its own."""

    process: subprocess.Popen[bytes]
    layer: Path
    line: socket.socket
    talk: Talk
    ports: dict[int, int]
    accelerator: str
    seconds: float = 0.0

    def connected(self, port: int) -> socket.socket:
        """A connection to one of its ports; the emulator takes it before the machine does."""
        return socket.create_connection(("127.0.0.1", self.ports[port]), 30)


@contextmanager
def booted(
    disk: Path, folder: Path, ports: Sequence[int], *, size: str, limit: float = 300
) -> Iterator[VirtualMachine]:
    """The machine, from the moment that its console asks who is there."""
    with contextlib.ExitStack() as stack:
        for accelerator in accelerators():
            layer = _layer(disk, folder / f"{accelerator}.qcow2", size)
            machine = stack.enter_context(_started(layer, folder, ports, accelerator))
            begun = time.monotonic()
            # Where one emulator lies in another the fast way may hang; it does so long before anything is asked.
            patience = limit if accelerator == "tcg" else 60.0
            if _asks(machine, begun + patience):
                machine.seconds = time.monotonic() - begun
                yield machine
                return
            stack.close()
        raise AssertionError(f"it did not boot: {machine.talk.shown}")


@contextmanager
def after_a_power_cut(machine: VirtualMachine, folder: Path, limit: float = 300) -> Iterator[VirtualMachine]:
    """The same machine once more, with what its disk was given so far."""
    machine.process.kill()
    machine.process.wait()
    with _started(machine.layer, folder, tuple(machine.ports), machine.accelerator) as found:
        assert _asks(found, time.monotonic() + limit), found.talk.shown
        yield found


def accelerators() -> list[str]:
    """How it may be emulated here, the fastest first."""
    told = os.environ.get("WHERRY_APPLIANCE_ACCELERATOR")
    if told:
        return [told]
    return ["kvm", "tcg"] if os.access("/dev/kvm", os.W_OK) else ["tcg"]


def _layer(disk: Path, layer: Path, size: str) -> Path:
    kind = disk.suffix[1:]
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(disk), str(layer), size], check=True
    )
    return layer


def _asks(machine: VirtualMachine, until: float) -> bool:
    while _LOGIN not in machine.talk.raw:
        ready, _, _ = select.select([machine.line], [], [], max(0.0, until - time.monotonic()))
        if not ready or not machine.talk._more():
            return False
    return True


@contextmanager
def _started(layer: Path, folder: Path, ports: Sequence[int], accelerator: str) -> Iterator[VirtualMachine]:
    ours = {port: free_port() for port in ports}
    forwards = ",".join(f"hostfwd=tcp:127.0.0.1:{here}-:{there}" for there, here in ours.items())
    line, theirs = socket.socketpair()
    command = [
        str(shutil.which(QEMU)), "-accel", accelerator, "-cpu", "max", "-smp", "1", "-m", "1024",
        "-display", "none", "-no-reboot", "-nodefaults",
        "-drive", f"file={layer},if=virtio,cache=unsafe",
        "-netdev", f"user,id=net,{forwards}", "-device", "virtio-net-pci,netdev=net",
        "-device", "virtio-rng-pci",
        "-chardev", f"socket,id=line,fd={theirs.fileno()}", "-serial", "chardev:line",
    ]  # fmt: skip
    with (folder / f"qemu-{accelerator}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()]
        )
    theirs.close()
    talk = Talk(line.fileno(), line.fileno())
    try:
        yield VirtualMachine(process, layer, line, talk, ours, accelerator)
    finally:
        process.kill()
        process.wait()
        line.close()
        (folder / f"console-{accelerator}.log").write_text(talk.raw)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
