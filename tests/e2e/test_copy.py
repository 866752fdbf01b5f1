"""`wherry copy` as a process: interrupted, and going on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
