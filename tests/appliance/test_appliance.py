"""The appliance as its owner meets it: boot, console, password, control plane, registration; what is open and what not.

Only `make appliance-test` runs this, which tells by `WHERRY_APPLIANCE` where the disk is.  The agent in it is real, and
so is the control plane beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from tests.appliance.virtual_machine import HOST, VirtualMachine, after_a_power_cut, booted
from tests.e2e.shell import CODE, Shell, until
from wherry.agent.shell.menus import NEWER
from wherry.control import breakglass, environment

DISK = os.environ.get("WHERRY_APPLIANCE", "")
PASSWORD = "correct horse battery staple"
# A name service listens at 5355 of its own accord, nobody at 80.
SSH, OPEN_INSIDE, NOBODYS = 22, 5355, 80
GIB = 1 << 30

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not DISK, reason="needs a disk of the appliance: make appliance-test"),
]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A control plane on this machine, with a mover."""
    person = Shell(tmp_path_factory.mktemp("plane"))
    options = ("--listen", "127.0.0.1:0", "--further-hosts", HOST, "--log-level", "warning")
    with person.started("serve", "--state", str(person.state), *options, name="serve") as serving:
        serving.wait_for(r'"ready": true')
        person.environment |= environment.variables(person.state)
        person.environment |= {"WHERRY_GROUP": "lab", "WHERRY_MOVER": "mover"}
        person.approved("login", name="login")
        person.run("group", "create", "--name", "lab")
        person.run("mover", "create", "--name", "mover")
        yield person


@pytest.fixture(scope="module")
def machine(plane: Shell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMachine]:
    ports = (SSH, OPEN_INSIDE, NOBODYS)
    with booted(Path(DISK).absolute(), tmp_path_factory.mktemp("machine"), ports, size="5G") as found:
        yield found


def test_from_the_first_boot_to_an_agent_that_is_online(plane: Shell, machine: VirtualMachine) -> None:
    talk, ids = machine.talk, plane.environment
    talk.type("Local user: ", "admin\r")
    key = re.findall(r"SSH host key of this agent: (SHA256:\S+)", talk.shown)[-1]
    talk.type("Password: ", "admin\r")
    talk.type("New password: ", f"{PASSWORD}\r")
    talk.type("Once more: ", f"{PASSWORD}\r")
    talk.wait_for("The password is changed.")

    talk.type("xdmsh> ", f"{at('main', 'system')}\r")
    talk.type("Choice: ", f"{at('system', 'show_system')}\r")
    talk.wait_for("SSH host key")
    assert re.search(r"Host name +wherry-agent-[0-9a-f]{6}\s", talk.shown)
    talk.type("Choice: ", f"{at('system', 'quit')}\r")

    begun = time.monotonic()
    talk.type("xdmsh> ", f"{at('main', 'network')}\r")
    talk.type("Choice: ", f"{at('network', 'update_network')}\r")
    talk.type("Choice: ", f"{at('update_network', 'set_control_plane')}\r")
    port = ids["WHERRY_URL"].rpartition(":")[2].rstrip("/")
    talk.type("Control plane (https", f"https://{HOST}:{port}\r")
    talk.type("Fingerprint", f"{fingerprint(Path(ids['WHERRY_CA_FILE']))}\r")
    talk.wait_for("is trusted")
    talk.type("Choice: ", f"{at('update_network', 'quit')}\r")
    talk.type("Choice: ", f"{at('network', 'test_network')}\r")
    talk.wait_for("All of them can be reached.")
    talk.type("Choice: ", f"{at('network', 'quit')}\r")
    talk.type("xdmsh> ", f"{at('main', 'registration')}\r")
    talk.type("Subscription ID", f"{ids['WHERRY_SUBSCRIPTION_ID']}\r")
    talk.type("Resource group name", "lab\r")
    talk.type("Storage mover resource name", "mover\r")
    talk.type("Agent name", "appliance\r")
    talk.type("Private Link Scope", "\r")
    talk.type("Tags", "\r")
    talk.type("QR code", "n\r")
    talk.wait_for("Ctrl-C ends it")
    breakglass.approve(plane.state, CODE.findall(talk.shown)[-1])
    talk.wait_for("[registered] Registered as ")
    until(lambda: agent_status(plane) == "Online", 120)
    seconds = time.monotonic() - begun

    shown = asyncio.run(status(machine, key))
    assert (shown["state"], shown["daemon"], shown["missing"]) == ("registered", "running", [])
    print(f"\n{machine.accelerator}: console after {machine.seconds:.0f} s, "
          f"control plane to Online {seconds:.0f} s, {Path(DISK).stat().st_size >> 20} MiB")  # fmt: skip


def test_the_machine_is_set_by_the_service_of_root_in_its_cage(machine: VirtualMachine) -> None:
    talk = machine.talk
    talk.type("xdmsh> ", f"{at('main', 'system')}\r")
    talk.type("Choice: ", f"{at('system', 'host_name')}\r")
    talk.type("Host name", "mover-north\r")
    talk.wait_for("Done. The control plane is reached as before.")
    talk.type("Choice: ", f"{at('system', 'time_zone')}\r")
    talk.type("Time zone", "Europe/Berlin\r")
    talk.wait_for("Done. The control plane is reached as before.")
    talk.type("Choice: ", f"{at('system', 'show_system')}\r")
    talk.wait_for("mover-north")
    talk.type("Choice: ", f"{at('system', 'quit')}\r")
    talk.type("xdmsh> ", f"{at('main', 'network')}\r")
    talk.type("Choice: ", f"{at('network', 'update_network')}\r")
    talk.type("Choice: ", f"{at('update_network', 'addresses')}\r")
    talk.type("Interface", "\r")
    talk.type("dhcp or static", "dhcp\r")
    talk.wait_for("Done. The control plane is reached as before.")


def test_nothing_but_ssh_is_let_in(machine: VirtualMachine) -> None:
    with machine.connected(SSH) as line:
        assert line.recv(64).startswith(b"SSH-2.0-xdmsh")
    for port in (OPEN_INSIDE, NOBODYS):
        with machine.connected(port) as line:
            line.settimeout(5)
            # A port that is merely closed would have said so.
            with pytest.raises(TimeoutError):
                line.recv(1)


def test_it_is_the_same_agent_after_a_power_cut(
    plane: Shell, machine: VirtualMachine, tmp_path: Path
) -> None:
    machine.process.kill()
    machine.process.wait()
    before = last_heard(plane)
    with after_a_power_cut(machine, tmp_path) as again, again.connected(SSH) as line:
        assert line.recv(64).startswith(b"SSH-2.0-xdmsh")
        until(lambda: last_heard(plane) != before, 120)
    assert agent_status(plane) == "Online"


def test_the_file_system_fills_the_disk(machine: VirtualMachine, tmp_path: Path) -> None:
    """The last one: nothing runs any more."""
    plain = tmp_path / "plain.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(machine.layer), str(plain)], check=True)
    with plain.open("rb") as disk:
        disk.seek(0x1BE + 8)
        start, sectors = struct.unpack("<II", disk.read(8))
        disk.seek(start * 512 + 1024)
        inode_count, blocks = struct.unpack("<II", disk.read(8))
        disk.seek(start * 512 + 1024 + 24)
        (size,) = struct.unpack("<I", disk.read(4))
    assert inode_count
    assert sectors * 512 > 4.9 * GIB
    assert blocks * (1024 << size) > 4.9 * GIB


async def status(machine: VirtualMachine, key: str) -> dict[str, object]:
    """What the one command that there is over SSH tells; the key is the one that the console has shown."""
    options = {"username": "admin", "password": PASSWORD, "known_hosts": None, "login_timeout": 120}
    async with asyncssh.connect("127.0.0.1", machine.ports[SSH], **options) as connection:
        shown = connection.get_server_host_key()
        assert shown is not None
        assert shown.get_fingerprint() == key
        done = await connection.run("status --json", check=True)
        found: dict[str, object] = json.loads(str(done.stdout))
        return found


def agent_status(plane: Shell) -> str:
    return told(plane, "agentStatus")


def last_heard(plane: Shell) -> str:
    return told(plane, "lastStatusUpdate")


def told(plane: Shell, name: str) -> str:
    """A property of the agent, as the API tells it."""
    return plane.run(
        "agent", "show", "--name", "appliance", "--query", f"properties.{name}", "-o", "tsv"
    ).out.strip()


def at(menu: str, does: str) -> str:
    """The number of an entry."""
    return str(1 + next(at for at, one in enumerate(NEWER[menu].entries) if one.does == does))


def fingerprint(certificate: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
