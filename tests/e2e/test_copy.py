"""`wherry copy` as a process: interrupted, and going on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import generate_container_sas

from tests.azurite import Azurite
from tests.e2e.shell import Shell
from wherry.cli.exits import Exit


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_a_moment_and_goes_on_later(number: signal.Signals, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in range(40):
        (source / str(folder)).mkdir(parents=True)
        for file in range(500):
            (source / str(folder) / str(file)).touch()
    command = [
        sys.executable, "-m", "wherry.cli.main", "copy", str(source), str(target),
        "--state", str(tmp_path / "state.db"), "--workers", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (target / "0").exists():
        time.sleep(0.01)
        assert process.poll() is None

    process.send_signal(number)
    _, err = process.communicate(timeout=20)

    assert process.returncode == Exit.INTERRUPTED
    assert "--state goes on from here" in err
    assert len(os.listdir(target)) < 40
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    told = json.loads(again.stdout)
    assert told["resumed"] is True
    assert told["items"] == {"Scanned": 20_040, "Transferred": 20_040}


def test_into_a_container_and_out_of_it(tmp_path: Path, azurite: Azurite) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "deep" / "ä file").write_bytes(os.urandom(5000))
    (source / "big").write_bytes(os.urandom(9 * 2**20))
    name = azurite.container("copy").container_name
    end = datetime.now(UTC) + timedelta(minutes=10)
    sas = generate_container_sas(
        azurite.account, name, account_key=azurite.key, permission="rwdl", expiry=end
    )
    shell, place = Shell(tmp_path), f"blob:{azurite.url}/{name}"

    there = shell.process("copy", "source", place, "--workers", "1", WHERRY_BLOB_SAS=sas)
    again = shell.process("copy", "source", place, "--workers", "1", WHERRY_BLOB_SAS=sas)
    back = shell.process("copy", place, "back", "--workers", "1", WHERRY_BLOB_SAS=sas)

    assert there.data["items"] == {"Scanned": 4, "Transferred": 4}
    assert again.data["items"] == {"Scanned": 4, "NoTransferNeeded": 4}
    assert back.data["items"] == {"Scanned": 4, "Transferred": 4}
    for path in ("deep/ä file", "big"):
        assert (tmp_path / "back" / path).read_bytes() == (source / path).read_bytes()
    assert (tmp_path / "back" / "empty").is_dir()
    refused = shell.process("copy", "source", place, code=11, WHERRY_BLOB_SAS="sig=nonsense-nonsense")
    assert "nonsense" not in refused.out + refused.err
