"""What the how-to of operation shows works: its commands are run as they stand, beside a control plane at work."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.shell import Shell

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "operate.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("operate"))
    shell.environment["NOTIFY_SOCKET"] = str(shell.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(60)
        systemd.bind(shell.environment["NOTIFY_SOCKET"])
        with shell.serving():
            assert systemd.recv(100) == b"READY=1"
            yield shell


def test_each_command_works_as_it_is_told(shell: Shell) -> None:
    shutil.copy2(shell.state / "master.key", shell.folder / "kept.key")
    places = {"STATE": shell.state, "NEW": shell.folder / "new", "OTHER": shell.folder / "other"}
    printed = {}
    for line in "".join(BLOCK.findall(PAGE.read_text())).splitlines():
        words = shlex.split(re.sub(r"\$(\w+)", lambda found: str(places[found[1]]), line))
        assert words[0] == "wherry"
        printed[line] = shell.run(*words[1:])
    found = {one["check"]: one for one in printed["wherry doctor --state $STATE --json"].data}
    assert found["service"]["verdict"] == "PASS", found
    assert not [one for one in found.values() if one["verdict"] == "FAIL"]
    unit = next(one.out for line, one in printed.items() if line.startswith("wherry install"))
    assert "--public-url https://mover.example.org:8443" in unit
    listed = printed["wherry backup --state $STATE --dry-run"].data
    assert "wherry.db" in {one["name"] for one in listed}
    made = printed["wherry backup --state $STATE --into plane.backup"]
    assert "master key is not in it" in made.err
    assert made.data["files"] >= 4
    assert (places["NEW"] / "master.key").read_text() == (shell.folder / "kept.key").read_text()
    assert "sign" not in printed["wherry backup --state $STATE --dry-run"].err
    shell.run("backup", "--state", str(shell.state), "--into", "plane.backup", code=2)
    shell.run("backup", "--state", str(shell.state), code=2)
    (places["NEW"] / "master.key").unlink()
    told = shell.run("doctor", "--state", str(places["NEW"]), "--output", "table", code=1).out
    assert "FAIL" in told
