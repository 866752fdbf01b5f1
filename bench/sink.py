"""A sink as the harness uses it: a process of its own for each run, so that no run finds what another one left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.sinks.certificate import Trust

ACCOUNT, CONTAINER = "bench", "target"


@dataclass
class Sink:
    """A running sink; `report` and `objects` are there once it has ended."""

    kind: str
    port: int
    trust: Trust | None
    report: dict[str, Any] = field(default_factory=dict)
    objects: list[dict[str, Any]] = field(default_factory=list)

    @property
    def scheme(self) -> str:
        return "https" if self.trust else "http"

    @property
    def service(self) -> str:
        """The URL of the service, without container or bucket."""
        return f"{self.scheme}://127.0.0.1:{self.port}" + (f"/{ACCOUNT}" if self.kind == "blob" else "")

    @property
    def url(self) -> str:
        return f"{self.service}/{CONTAINER}"

    @property
    def prefix(self) -> str:
        """What stands before the name of each object in the sink's report."""
        return f"/{ACCOUNT}/{CONTAINER}/" if self.kind == "blob" else f"/{CONTAINER}/"


@contextmanager
def running(
    kind: str, folder: Path, trust: Trust | None = None, latency: float = 0.0, checked: bool = False
) -> Iterator[Sink]:
    """A sink until the block ends; then what it received. `checked`: hash bodies, tell every object."""
    report, objects = folder / "sink.json", folder / "sink-objects.jsonl"
    command = [sys.executable, "-m", "bench.sinks", kind, "--report", str(report), "--latency", str(latency)]
    if trust:
        command += ["--certificate", str(trust.certificate), "--key", str(trust.key)]
    command += ["--objects", str(objects)]
    if checked:
        command += ["--checked"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    )
    assert process.stdin
    assert process.stdout
    sink = Sink(kind, int(process.stdout.readline()), trust)
    try:
        yield sink
    finally:
        process.stdin.close()
        code = process.wait(timeout=120)
        process.stdout.close()
    if code:
        raise OSError(f"the sink ended with {code}")
    sink.report = json.loads(report.read_text())
    with objects.open() as lines:
        sink.objects = [json.loads(line) for line in lines]
    report.unlink()
    objects.unlink()
