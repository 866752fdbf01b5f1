"""Generated pages are those of the tables in the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_reference_pages_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "tools" / "reference.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
