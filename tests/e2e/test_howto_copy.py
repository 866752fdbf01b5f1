"""What the how-to of `wherry copy` shows works: its commands are run as they stand, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import generate_container_sas

from tests.azurite import Azurite
from tests.e2e.shell import Shell

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "copy.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(300)
def test_each_command_works_as_it_is_told(tmp_path: Path, azurite: Azurite) -> None:
    name = azurite.container("howto").container_name
    end = datetime.now(UTC) + timedelta(minutes=10)
    sas = generate_container_sas(
        azurite.account, name, account_key=azurite.key, permission="rwdl", expiry=end
    )
    shell = Shell(tmp_path / "config", {"SAS": sas, "CONTAINER": f"{azurite.url}/{name}"})
    folder = tmp_path / "here"
    folder.mkdir()
    blocks = BLOCK.findall(HOW_TO.read_text())
    script = "\n".join(f"echo '@@ {number}'\n{block}" for number, block in enumerate(blocks))

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=shell.environment, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    printed = dict(re.findall(r"^@@ (\d+)\n(.*?)(?=^@@ |\Z)", done.stdout, re.MULTILINE | re.DOTALL))
    assert '"Transferred": 8' in printed["1"]
    assert '"NoTransferNeeded": 8' in printed["2"]
    assert '"dryRun": true' in printed["3"]
    assert '"Deleted": 1' in printed["4"]
    assert printed["8"].splitlines()[1] == "Succeeded"
    assert "Nothing was changed." in done.stderr
    assert not os.listdir(folder / "back" / "empty")
    assert sas.partition("sig=")[2] not in done.stdout + done.stderr
    assert "sig=" not in "".join(one.read_text() for one in (folder / "report.json", folder / "copy.jsonl"))
