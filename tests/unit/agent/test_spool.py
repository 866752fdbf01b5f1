"""What cannot be told now: in order, bounded, each thing once, whatever breaks."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.agent.delivery import COMMIT, EVENT, Delivery, SpooledLedger, delivering
from wherry.agent.log_lines import tell
from wherry.agent.spool import Letter, Spool, opened
from wherry.client.agent_protocol import Unanswered
from wherry.engine.lease import LeaseClock, LeaseClocks, boot_time
from wherry.model.errors import ApiError, LeaseLost
from wherry.model.ledger import Commit, Span, Token
from wherry.model.outcomes import Counters
from wherry.model.wire import Progress, Renewal

TOKEN = Token("inc", 1, 1, "lease")


def letter(number: int, size: int = 10, run: str = "run") -> Letter:
    return Letter("event", run, {"number": number}, bytes(size))


def numbers(spool: Spool) -> list[int]:
    return [one.head["number"] for one in spool.first(1000)]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(1, 3)),
            st.tuples(st.just("drop"), st.integers(1, 4)),
            st.tuples(st.just("reopen"), st.just(0)),
        ),
        max_size=25,
    )
)
def test_letters_stay_in_order_and_within_their_bound(deeds: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), "me", limit=2500)
        name, kept, seqs, made, refused = spool.name, list[int](), set[int](), 0, 0
        for deed, count in deeds:
            if deed == "put":
                wanted = [letter(made + n, size=300) for n in range(count)]
                made += count
                fits = sum(one.size for one in wanted) + spool._size <= 2500
                assert spool.put(*wanted) is fits
                kept += [one.head["number"] for one in wanted] if fits else []
                refused += 0 if fits else count
            elif deed == "drop" and kept:
                told = spool.first(count)
                assert not seqs & {one.seq for one in told}, "a number is used once"
                seqs |= {one.seq for one in told}
                spool.drop(told)
                del kept[: len(told)]
            elif deed == "reopen":
                spool.close()
                spool = Spool(Path(folder), "me", limit=2500)
                spool.refused = refused
            assert (numbers(spool), len(spool), spool.name) == (kept, len(kept), name)
        assert spool.take_refused() == refused
        assert spool.take_refused() == 0
        spool.close()


def test_what_was_put_is_there_after_a_kill(tmp_path: Path) -> None:
    """Whatever it was writing when it died: all that it had acknowledged is there, in order, none twice."""
    program = (
        "import sys; from pathlib import Path; from wherry.agent.spool import Letter, Spool\n"
        "spool = Spool(Path(sys.argv[1]), 'me')\n"
        "for number in range(10**6):\n"
        "    spool.put(Letter('event', 'run', {'number': number}, bytes(5000)))\n"
        "    print(number, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        acknowledged = 19 + len(process.stdout.read().splitlines())
    with opened(tmp_path, "me") as spool:
        found = numbers(spool)
        assert found == list(range(len(found)))
        assert len(found) in (acknowledged + 1, acknowledged + 2)


def test_a_damaged_file_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path, "me") as spool:
        before = spool.name
        assert spool.put(*(letter(n, 3000) for n in range(9)))
    with (tmp_path / "spool.sqlite").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    with opened(tmp_path, "me") as spool:
        assert len(spool) == 0
        assert spool.name != before, "its numbers begin anew"
        assert spool.put(letter(1))
    assert "is damaged and put aside" in caplog.text


def test_letters_of_an_agent_before_are_nobodys(tmp_path: Path) -> None:
    with opened(tmp_path, "one") as spool:
        assert spool.put(letter(1))
        before = spool.name
    with opened(tmp_path, "two") as spool:
        assert (len(spool), spool.name == before) == (0, False)


def test_a_full_disk_is_named_and_the_agent_lives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path, "me") as spool:
        assert spool.put(letter(1))
        pages = spool._base.execute("PRAGMA page_count").fetchone()[0]
        spool._base.execute(f"PRAGMA max_page_count = {pages}")
        assert not spool.put(letter(2, 100_000))
        assert not spool.put(letter(3, 100_000))
        assert numbers(spool) == [1]
        spool._base.execute("PRAGMA max_page_count = 100000")
        assert spool.put(letter(4))
        assert numbers(spool) == [1, 4]
        assert spool.take_refused() == 2
    assert caplog.text.count("database or disk is full") == 1


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_on_a_disk_that_is_really_full(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(place)], check=True)
    try:
        with opened(place, "me") as spool:
            kept = 0
            while spool.put(letter(kept, 20_000)):
                kept += 1
            assert kept > 2
            assert not spool.put(letter(99, 20_000))
            assert numbers(spool) == list(range(kept))
            (place / "more").write_bytes(bytes(shutil.disk_usage(place).free))
            before = spool.name
            spool.drop(spool.first(2))
            assert numbers(spool) == list(range(2, kept)), "what was told is not told again"
            spool.drop(spool.first(1000))
            assert (len(spool), spool.name != before) == (0, True)
            assert spool.put(letter(kept, 20_000))
        with opened(place, "me") as spool:
            assert numbers(spool) == [kept]
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_without_a_place_to_write_letters_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect = sqlite3.connect

    def full(path: Any, **options: Any) -> sqlite3.Connection:
        if path != ":memory:":
            raise sqlite3.OperationalError("database or disk is full")
        return connect(path, **options)

    monkeypatch.setattr(sqlite3, "connect", full)
    with opened(tmp_path, "me") as spool:
        assert spool.put(letter(1))
        assert numbers(spool) == [1]
    assert "letters are in memory only" in caplog.text


class Plane:
    """A control plane that is there or not, and may do what it is asked and then not answer.

    It takes letters as the real one does: commits of a lease in order and once, events of a spool above the last one.
    """

    def __init__(self) -> None:
        self.there = self.known = True
        self.mute: Callable[[], bool] = lambda: False
        self.segments: set[str] = set()
        self.commits: list[int] = []
        self.events: list[str] = []
        self.taken_over = False
        self._last = 0

    def ledger(self, run: str, remaining: Callable[[], float]) -> Any:
        self.remaining = remaining
        return self

    def _ask(self) -> None:
        if not self.there:
            raise Unanswered
        if not self.known:
            raise ApiError(401, "invalid_client", "The clock of the agent is wrong.")

    def put(self, token: Token, name: str, segment: bytes) -> None:
        self._ask()
        self.segments.add(name)
        if self.mute():
            raise Unanswered

    def commit(self, token: Token, progress: Progress) -> Renewal:
        self.commit_late(token, progress.to_json())
        return Renewal(60.0)

    def commit_late(self, token: Token, progress: dict[str, Any]) -> None:
        self._ask()
        if self.taken_over:
            raise LeaseLost("another agent has taken over")
        seq = progress["seq"]
        if seq > len(self.commits):
            assert seq == len(self.commits) + 1
            assert {name for name, _ in progress["segments"]} <= self.segments
            self.commits.append(seq)
        if self.mute():
            raise Unanswered

    def tell(self, events: list[dict[str, Any]], spool: str, seq: int) -> None:
        self._ask()
        for number, event in enumerate(events, seq):
            if number > self._last:
                self.events.append(event["message"])
                self._last = number
        if self.mute():
            raise Unanswered


@pytest.fixture
def clock() -> Iterator[LeaseClock]:
    clocks = LeaseClocks()
    taken = clocks.take()
    taken.extend(boot_time(), 60.0)
    yield taken
    clocks.close()


def progress_of(ledger: SpooledLedger, seq: int) -> Progress:
    """A commit with a segment of its own, kept as the engine does it."""
    named = ledger.keep(TOKEN, seq, f"line {seq}\n".encode())
    return Progress(Commit(seq, Span(cursor=b"%d" % seq)), Counters(), (named,))


@given(st.data())
def test_everything_is_told_once_and_in_order_whatever_is_lost_on_the_way(data: st.DataObject) -> None:
    plane = Plane()
    plane.mute = lambda: data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        clocks = LeaseClocks()
        clock = clocks.take()
        clock.extend(boot_time(), 60.0)
        spool = Spool(Path(folder), "me")
        delivery = Delivery(plane, spool)  # type: ignore[arg-type]
        ledger = delivery.ledger("run", clock)
        noted = 0
        for seq in range(1, data.draw(st.integers(2, 6))):
            plane.there = data.draw(st.booleans())
            ledger.commit(TOKEN, progress_of(ledger, seq))
            if data.draw(st.booleans()):
                noted += 1
                delivery.note("run", 0.0, "Warning", f"event {noted}")
            if data.draw(st.booleans()):
                # The agent is killed and begins anew; the lease's worker is gone with it.
                spool.close()
                spool = Spool(Path(folder), "me")
                delivery = Delivery(plane, spool)  # type: ignore[arg-type]
                ledger = replaced(ledger, delivery, clock)
        plane.there, plane.mute = True, lambda: False
        assert delivery.deliver()
        assert plane.commits == list(range(1, seq + 1))
        assert [one for one in plane.events if one.startswith("event")] == [
            f"event {number}" for number in range(1, noted + 1)
        ]
        assert len(spool) == 0
        spool.close()
        clocks.close()


def replaced(before: SpooledLedger, delivery: Delivery, clock: LeaseClock) -> SpooledLedger:
    ledger = delivery.ledger("run", clock)
    ledger._away = before._away
    return ledger


def test_a_commit_that_is_kept_wins_no_time(tmp_path: Path, clock: LeaseClock) -> None:
    plane = Plane()
    plane.there = False
    with opened(tmp_path, "me") as spool:
        delivery = Delivery(plane, spool)  # type: ignore[arg-type]
        ledger = delivery.ledger("run", clock)
        assert ledger.commit(TOKEN, progress_of(ledger, 1)) == Renewal(0.0)
        assert delivery.reach.away
        assert [one.kind for one in spool.first(9)] == ["segment", "commit"]
        plane.there = True
        assert ledger.commit(TOKEN, progress_of(ledger, 2)) == Renewal(60.0)
        assert plane.commits == [1, 2]
        assert len(spool) == 0


def test_without_room_the_lease_ends(tmp_path: Path, clock: LeaseClock) -> None:
    plane = Plane()
    plane.there = False
    with opened(tmp_path, "me") as spool:
        spool.limit = 100
        delivery = Delivery(plane, spool)  # type: ignore[arg-type]
        ledger = delivery.ledger("run", clock)
        with pytest.raises(LeaseLost, match="no room"):
            ledger.commit(TOKEN, progress_of(ledger, 1))
        plane.there = True
        assert delivery.deliver()
        assert plane.commits == []
        assert spool.refused == 0, "it was told that something is lost"


def test_what_others_count_by_now_is_dropped(tmp_path: Path, clock: LeaseClock) -> None:
    plane = Plane()
    plane.there = False
    with opened(tmp_path, "me") as spool:
        delivery = Delivery(plane, spool)  # type: ignore[arg-type]
        ledger = delivery.ledger("run", clock)
        ledger.commit(TOKEN, progress_of(ledger, 1))
        delivery.note("run", 0.0, "Warning", "it goes on")
        plane.there = plane.taken_over = True
        assert delivery.deliver()
        assert (plane.commits, plane.events, len(spool)) == ([], ["it goes on"], 0)


def test_letters_outlive_a_sign_in_that_is_refused(tmp_path: Path, clock: LeaseClock) -> None:
    plane = Plane()
    plane.there = False
    with opened(tmp_path, "me") as spool:
        delivery = Delivery(plane, spool)  # type: ignore[arg-type]
        ledger = delivery.ledger("run", clock)
        ledger.commit(TOKEN, progress_of(ledger, 1))
        kept = len(spool)
        plane.there, plane.known = True, False
        assert not delivery.deliver()
        assert len(spool) == kept
        plane.known = True
        assert delivery.deliver()
        assert (plane.commits, len(spool)) == ([1], 0)


def test_a_letter_that_breaks_the_service_keeps_no_others_away(tmp_path: Path) -> None:
    plane = Plane()

    def broken(*_: object) -> None:
        raise Unanswered(heard=True)

    plane.commit_late = broken  # type: ignore[method-assign, assignment]
    with opened(tmp_path, "me") as spool:
        delivery = Delivery(plane, spool)  # type: ignore[arg-type]
        head = {"token": {"incarnation": "i", "partition": 1, "epoch": 1, "lease": "l"}, "progress": {}}
        assert spool.put(Letter(COMMIT, "run", head))
        delivery.note("run", 0.0, "Error", "behind it")
        tries = 1
        while not delivery.deliver():
            tries += 1
        assert tries == 10
        assert plane.events == ["behind it"]


def test_lines_about_runs_are_kept_while_nobody_answers(tmp_path: Path) -> None:
    plane = Plane()
    logging.getLogger("wherry.agent").setLevel(logging.INFO)
    with delivering(plane, tmp_path, "me") as delivery:  # type: ignore[arg-type]
        tell(logging.WARNING, "lease.lost", "before", run="run")
        delivery.reach.note(OSError("gone"))
        tell(logging.WARNING, "lease.lost", "It ran out.", run="run", code="AZSM1023", detail="of time")
        tell(logging.WARNING, "unreachable", "of no run")
        tell(logging.INFO, "lease.begin", "no trouble", run="run")
        kept = delivery.spool.first(9)
        assert [(one.kind, one.run) for one in kept] == [(EVENT, "run")]
        assert kept[0].head["message"] == "It ran out. of time"
        assert (kept[0].head["level"], kept[0].head["code"]) == ("Warning", "AZSM1023")
        delivery.reach.note(None)
        assert delivery.deliver()
    assert plane.events[0] == "It ran out. of time"
    assert plane.events[1].startswith("The control plane could not be reached for 0 s.")
