"""The processes of the demo."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.cli.demo import servers
from wherry.cli.demo.servers import Servers


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Servers]:
    made = Servers(tmp_path)
    yield made
    made.end()


def test_one_that_is_being_made_when_ctrl_c_comes_is_ended_with_the_others(
    demo: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[subprocess.Popen[bytes]] = []

    def interrupted(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen(*arguments, **more))
        signal.raise_signal(signal.SIGINT)
        return made[0]

    monkeypatch.setattr(servers, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": interrupted}))
    with pytest.raises(KeyboardInterrupt):
        demo.start("sleep", "sleep", "600")
    monkeypatch.undo()
    assert made[0].poll() is None

    demo.end()

    assert made[0].poll() == -signal.SIGTERM
