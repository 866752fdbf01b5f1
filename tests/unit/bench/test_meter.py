from __future__ import annotations

import sys
from pathlib import Path

from bench import meter

MIB = 1024 * 1024
# A program with a child: both fill memory, the child burns processor time.
PROGRAM = """
import subprocess, sys, time
held = bytearray(40 * 1024 * 1024)
child = "import time; held = bytearray(60 * 1024 * 1024); time.sleep(0.3); sum(range(2_000_000))"
subprocess.run([sys.executable, "-c", child], check=True)
print("done")
sys.exit(3)
"""


def test_a_run_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    usage = meter.run(["sh", "-c", "sleep 600 & wait"], tmp_path, longest=0.2)

    assert usage.code == -9
    assert usage.wall < 30


def test_a_run_counts_the_whole_tree_of_processes(tmp_path: Path) -> None:
    usage = meter.run([sys.executable, "-c", PROGRAM], tmp_path)

    assert usage.code == 3
    assert usage.said == "done"
    assert usage.wall >= 0.3
    assert usage.processor > 0.05
    assert 100 * MIB < usage.memory < 160 * MIB
    assert usage.resident >= usage.memory * 0.9
