"""Rates, the time that is left, and lines for whoever has no terminal."""

from __future__ import annotations

import io
import re
import sys
import threading

import pytest

from wherry.cli.live import Moment, Pace, Screen, duration, size


def at(scanned: int, sent: int = 0, expected: int = 0, note: str = "") -> Moment:
    items = {"Scanned": scanned, "Transferred": scanned}
    return Moment("Running", items, {"Transferred": sent}, expected, note)


def test_rates_are_those_of_the_last_half_minute() -> None:
    pace = Pace(0.0)
    pace.note(0.0, at(0))
    assert pace.rates is None

    pace.note(10.0, at(1000, 10_000))
    assert pace.rates == (100.0, 1000.0)

    for second in range(11, 61):
        pace.note(float(second), at(1000 + (second - 10) * 10, 10_000))
    assert pace.rates == pytest.approx((10.0, 0.0))


def test_the_time_left_is_a_range_and_hidden_until_known() -> None:
    pace = Pace(0.0)
    pace.note(0.0, at(0))
    pace.note(10.0, at(1000))
    assert pace.remaining(at(1000)) is None
    assert pace.remaining(at(1000, expected=3000)) == (20.0, 20.0)

    for second in range(11, 51):
        pace.note(float(second), at(1000 + (second - 10) * 50, expected=6000))
    least, most = pace.remaining(at(3000, expected=6000)) or (0.0, 0.0)
    assert least == pytest.approx(50.0)
    assert most == pytest.approx(60.0)
    assert pace.remaining(at(6000, expected=6000)) is None


def test_a_line_every_few_seconds_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    with Screen("job", clock=lambda: now[0]) as screen:
        for second in range(13):
            now[0] = 100.0 + second
            screen.show(at(second * 100, second * 2**20, note="away\x1b" if second == 5 else ""))

    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 2
    assert lines[0] == (
        "job: Running, 500 items scanned, 500 transferred (5.0 MiB), 100 items/s, 1.0 MiB/s, away\\x1b"
    )


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with Screen("job", quiet=True, clock=lambda: now[0]) as screen:
        now[0] = 60.0
        screen.show(at(1))

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**40, "5.0 TiB"), (2**62, "4096.0 PiB")],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (3661, "1 h 01 min"), (90_000, "25 h 00 min")],
)
def test_time_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_screen_has_no_thread_before_there_is_something_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked as long as there is but one thread, which is quicker."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    before = set(threading.enumerate())
    with Screen("copy") as screen:
        assert set(threading.enumerate()) == before
        screen.show(at(5))
        [drawing] = set(threading.enumerate()) - before
    drawing.join(10)
    assert not drawing.is_alive()


@pytest.mark.parametrize("terminal", [True, False])
def test_attack_59_no_word_from_elsewhere_acts_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    evil = "\x1b[2Jname\x1b]0;title\x07\u202e\x9b31m\n[bold]"
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", shown)
    with Screen(evil, every=0.0) as screen:
        screen.show(Moment(evil, {"Scanned": 1}, {}, note=evil))

    assert r"\x1b[2Jname\x1b]0;title\x07\u202e\x9b31m\n[bold]" in shown.getvalue()
    # The screen draws by escapes of its own.
    drawn = re.sub(r"\x1b\[(\?25[hl]|[0-9;]*m|2?K|1A)|\r", "", shown.getvalue())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", drawn)
