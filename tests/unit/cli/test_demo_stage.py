"""The demo's end on request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from wherry.cli.demo.stage import Interrupted

def play():
    try:
        exec("raise Interrupted")
    except KeyboardInterrupt:
        return 130

sys.exit(play())
"""


def test_interrupted_while_python_makes_a_class_it_ends_with_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(PROGRAM)

    ended = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False, timeout=60)

    assert ended.returncode == 130
