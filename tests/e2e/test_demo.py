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
from tests.e2e.shell import Shell, until
from wherry.cli.demo.servers import BlobServer

LIMIT = 100.0


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Temporary folders are where they are for most people: not below /dev, which no agent would touch."""
    folder = str(tmp_path_factory.mktemp("disk"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture
def shell(disk: None, tmp_path: Path) -> Shell:
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    for number in range(60):
        (source / f"folder-{number % 4}").mkdir(exist_ok=True)
        (source / f"folder-{number % 4}" / f"file-{number}").write_bytes(os.urandom(number * 50))
    # A folder where no Blob server is found by its name.
    return Shell(tmp_path, {"PATH": "/usr/bin:/bin"})


@pytest.fixture(autouse=True)
def nothing_stays(disk: None) -> Iterator[None]:
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


def parts_told(printed: str) -> list[str]:
    """The parts of the demo whose time it has told."""
    return re.findall(r"^(.+?)  +.*\d+\.\d s$", printed, re.MULTILINE)


def test_into_a_container(shell: Shell, azurite: Azurite) -> None:
    answer = shell.process("demo", "--source", "source", "--azurite", str(AZURITE))

    assert "60 files, 5 folders" in answer.out
    assert "SHA-256, mode and time of each" in answer.out
    assert "0 items, 0 B transferred; 65 are as they were" in answer.out
    assert "the server answers 403 to the credential of the run" in answer.out


def test_without_a_blob_server_into_a_folder_and_kept_to_look_around_until_ctrl_c(shell: Shell) -> None:
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
    assert "the target is a local folder instead" in demo.printed
    assert "60 files, 5 folders" in demo.printed
    assert "0 items, 0 B transferred; 65 are as they were" in demo.printed
    assert len(parts_told(demo.printed)) == 9
    assert parts_told(demo.printed)[-1] == "All of it"


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        pytest.param("2. A control plane", signal.SIGINT, marks=pytest.mark.long),
        pytest.param("It is ready at", signal.SIGTERM, marks=pytest.mark.long),
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
    assert "is not a folder" in shell.run("demo", "--source", "nowhere", code=2).err
    assert "no program" in shell.run("demo", "--source", "source", "--azurite", "nowhere", code=2).err


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
