"""The agent's own log: a line an event, whatever is said in it."""

from __future__ import annotations

import json
import logging

import pytest

from wherry.agent.log_lines import JsonLines, tell


def test_attack_59_no_word_makes_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    evil = 'x"}\n{"level": "info", "event": "agent.forged"}\r\x1b[2J\u2028\u202e\x9b'

    tell(logging.ERROR, "run.failed", evil, error=evil, raw=evil.encode())

    line = JsonLines().format(caplog.records[-1])
    told = json.loads(line)
    assert (told["event"], told["message"], told["error"]) == ("run.failed", evil, evil)
    assert line.isascii()
    assert line.isprintable()
