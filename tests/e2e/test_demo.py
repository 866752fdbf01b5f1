"""The demo: it proves what it says, and whatever happens to it, no process and no file stays."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azurite import PROGRAM as AZURITE
from tests.azurite import Azurite
from tests.conftest import command_line
from tests.e2e.shell import Answer, Shell, until
from wherry.cli.demo.servers import BlobServer

LIMIT = 100.0


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    for number in range(60):
        (source / f"folder-{number % 4}").mkdir(exist_ok=True)
        (source / f"folder-{number % 4}" / f"file-{number}").write_bytes(os.urandom(number * 50))
    # A folder where no Blob server is found by its name.
    return Shell(tmp_path, {"PATH": "/usr/bin:/bin"})


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    until(lambda: not left(), 10, lambda: f"left behind: {left()}")


def left() -> list[str]:
    """Folders of demos, and processes that have one among their arguments."""
    mark = f"{tempfile.gettempdir()}/wherry-demo-"
    found = [str(path) for path in Path(tempfile.gettempdir()).glob("wherry-demo-*")]
    for process in Path("/proc").glob("[0-9]*"):
        line = command_line(int(process.name)).replace(b"\0", b" ").decode(errors="replace")
        if mark in line:
            found.append(line)
    return found


def seconds_told(answer: Answer) -> list[str]:
    return re.findall(r"^(.+?)  +.*\d+\.\d s$", answer.out, re.MULTILINE)


def test_without_a_blob_server_the_target_is_a_folder_and_it_says_so(shell: Shell) -> None:
    shell.environment["PATH"] = "/usr/bin:/bin"

    answer = shell.process("demo", "--source", "source")

    assert "the target is a local folder instead" in answer.out
    assert "60 files, 5 folders" in answer.out
    assert "0 items, 0 B transferred; 65 are as they were" in answer.out
    assert seconds_told(answer)[-1] == "All of it"
    assert len(seconds_told(answer)) == 9


def test_into_a_container(shell: Shell, azurite: Azurite) -> None:
    answer = shell.process("demo", "--source", "source", "--azurite", str(AZURITE))

    assert "60 files, 5 folders" in answer.out
    assert "SHA-256, mode and time of each" in answer.out
    assert "0 items, 0 B transferred; 65 are as they were" in answer.out
    assert "the server answers 403 to the credential of the run" in answer.out


def test_kept_to_look_around_until_ctrl_c(shell: Shell) -> None:
    with shell.started("demo", "--source", "source", "--keep", name="demo") as demo:
        demo.wait_for("Ctrl-C here ends it all", LIMIT)
        exports = "".join(line + "\n" for line in demo.printed.splitlines() if line.startswith("export "))
        script = (
            f"{exports}\nwherry run list --job everything --query '[].properties.status'\nwherry agent list"
        )
        environment = {**os.environ, "PATH": f"{Path(os.sys.executable).parent}:/usr/bin:/bin"}  # type: ignore[attr-defined]
        looked = subprocess.run(
            ["bash", "-ec", script], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        assert looked.stdout.count("Succeeded") >= 2
        assert "demo-agent" in looked.stdout
        assert demo.end(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("2. A control plane", signal.SIGINT),
        ("It is ready at", signal.SIGTERM),
        ("3. An agent", signal.SIGHUP),
        ("5. The migration", signal.SIGINT),
    ],
)
def test_interrupted_at_any_moment(shell: Shell, moment: str, number: signal.Signals) -> None:
    with shell.started("demo", "--source", "source", name="demo") as demo:
        demo.wait_for(re.escape(moment), LIMIT)
        assert demo.end(number) == 130, demo.printed


def test_killed_without_warning(shell: Shell) -> None:
    with shell.started("demo", "--source", "source", name="demo") as demo:
        demo.wait_for("4. Project", LIMIT)
        demo.end(signal.SIGKILL)
    until(lambda: not [line for line in left() if " " in line], 30, lambda: str(left()))
    for folder in Path(tempfile.gettempdir()).glob("wherry-demo-*"):
        shutil.rmtree(folder)


def test_a_source_that_is_no_folder(shell: Shell) -> None:
    assert "is not a folder" in shell.process("demo", "--source", "nowhere", code=2).err
    assert "no program" in shell.process("demo", "--source", "source", "--azurite", "nowhere", code=2).err


def test_the_judge_reads_a_container_as_it_is(azurite: Azurite) -> None:
    from wherry.cli.demo.proof import Container, File

    made = azurite.container("judge")
    metadata = {"permissions": str(0o100640), "modtime": "1700000000123456789"}
    made.upload_blob("a/ä file", b"abc", metadata=metadata)
    made.upload_blob("empty", b"", metadata={"hdi_isfolder": "true"})
    seen = Container(BlobServer(azurite.url, azurite.account, azurite.key), made.container_name)

    found = seen.read()
    status, policies = seen.answer_to("no-such-policy"), seen.policies()

    seen.close()
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found.files == {"a/ä file".encode(): File(3, digest, 0o640, 1_700_000_000_123_456_789)}
    assert found.folders == {b"empty"}
    assert (status, policies) == (403, [])
