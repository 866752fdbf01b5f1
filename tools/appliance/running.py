"""Run a program of the build to its end; what it says is shown only when it fails.  Called by `build` and `disk`."""

from __future__ import annotations

import os
import subprocess
import sys

_LANGUAGE = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def run(*argv: str, given: str = "") -> str:
    """What it has printed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        argv, input=given, env=kept | _LANGUAGE, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout
