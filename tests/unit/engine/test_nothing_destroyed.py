"""What must stay does stay, and nothing is told to be done that is not: filters, links, folders, other spellings."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.engine.stage import Passing, fresh_places, order_of, work_off
from wherry.engine import chapter, chapters, deeds
from wherry.engine.copy import copy
from wherry.engine.deeds import Both, Deed
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.engine.team import Team
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Corrupt
from wherry.model.ledger import Span, Token
from wherry.model.options import CopyMode, JobOptions, Verify
from wherry.model.outcomes import Outcome, Row
from wherry.model.plan import Attempt, Do, Judge
from wherry.model.wire import Progress, Renewal
from wherry.stores.memory import MemoryStore, world
from wherry.stores.port import Content, Store, StoreSpec
from wherry.stores.registry import open_store


@pytest.fixture
def places() -> tuple[str, str]:
    return fresh_places()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made = tmp_path / "source", tmp_path / "target"
    for folder in made:
        folder.mkdir()
    return made


def _do(source: Store, target: Store, deed: Deed, options: JobOptions | None = None) -> list[Row]:
    judge = Judge(options or JobOptions(), target.traits.holds, Attempt())
    with closing(Team(source.traits, target.traits)) as team:
        return deeds.do(Both(source, target, judge, lambda: None, lambda: None, team), deed)


def _do_on_folders(folders: tuple[Path, Path], deed: Deed) -> list[Row]:
    near, far = StoreSpec("posix", str(folders[0])), StoreSpec("posix", str(folders[1]), create=True)
    with closing(open_store(near)) as source, closing(open_store(far)) as target:
        return _do(source, target, deed)


class _DiesAt(Passing):
    """A ledger whose caller dies right after the commit with a certain cursor, once."""

    def __init__(self, inner: LocalLedger, cursor: bytes) -> None:
        super().__init__(inner)
        self._cursor = cursor
        self.died = False

    def commit(self, token: Token, progress: Progress) -> Renewal:
        answer = super().commit(token, progress)
        rest = progress.commit.rest
        if not self.died and isinstance(rest, Span) and rest.cursor == self._cursor:
            self.died = True
            raise WorkerDied("the commit was its last deed")
        return answer


def test_a_successor_leaves_an_excluded_folder_alone_at_which_its_predecessor_ended(places, monkeypatch):
    monkeypatch.setattr(chapter, "FIRST_COMMIT_SECONDS", -1.0)
    monkeypatch.setattr(chapters, "FIRST_COMMIT_SECONDS", -1.0)
    MemoryStore(places[0]).seed(b"z", b"1")
    MemoryStore(places[1]).seed(b"keep/precious", b"gold")
    order = order_of(places, JobOptions(mode=CopyMode.MIRROR, exclude=("keep",)))
    with closing(LocalLedger()) as ledger, closing(Pool(0)) as pool:
        ledger.open(order)
        port = _DiesAt(ledger, b"keep")
        work_off(order, ledger, pool, port=port)
    assert port.died
    assert set(MemoryStore(places[1]).paths()) == {b"keep", b"keep/precious", b"z"}


def test_a_name_that_was_given_to_another_file_is_not_linked_to_the_first(folders):
    source, target = folders
    (source / "a").write_bytes(b"one")
    (source / "b").write_bytes(b"another")
    (source / "c").hardlink_to(source / "a")
    rows = _do_on_folders(folders, Deed(Do.LINK_GROUP, b"", paths=(b"a", b"b", b"c")))
    assert [row.outcome for row in rows] == [Outcome.TRANSFERRED] * 3
    assert (target / "b").read_bytes() == b"another"
    assert (target / "c").samefile(target / "a")


def test_a_file_in_the_place_of_a_folder_does_not_get_its_metadata(folders):
    source, target = folders
    (source / "a").mkdir(mode=0o755)
    (target / "a").write_bytes(b"somebody's")
    (target / "a").chmod(0o640)
    rows = _do_on_folders(folders, Deed(Do.FINISH, b"a"))
    assert [row.outcome for row in rows] == [Outcome.FAILED]
    assert (target / "a").stat().st_mode & 0o777 == 0o640


class _CaseBlind(MemoryStore):
    """A target that holds one item for all spellings of a name."""

    def stat(self, path: bytes) -> Entry | None:
        found = super().stat(path.upper())
        return found and found._replace(name=path)

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        super().put(path.upper(), content, like, expect)


def test_an_equal_item_of_another_spelling_is_not_taken_for_this_one(places):
    source, target = MemoryStore(places[0]), _CaseBlind(places[1])
    wanted = source.seed(b"a", b"wanted", modified=5)
    MemoryStore(places[1]).seed(b"A", b"others", modified=5)
    rows = _do(source, target, Deed(Do.TRANSFER, b"a", wanted))
    assert [row.outcome for row in rows] == [Outcome.FAILED]
    assert MemoryStore(places[1]).paths() == {b"A": b"others"}


class _Garbling(MemoryStore):
    """A target that keeps other bytes than it was given."""

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        super().put(path, content, like, expect)
        world(self._location).nodes[path].data = bytes(content.size)


def test_what_was_read_back_wrong_is_not_equal_for_the_next_run(places):
    source, target = MemoryStore(places[0]), _Garbling(places[1])
    wanted = source.seed(b"a", b"wanted", modified=5)
    options = JobOptions(verify=Verify.READBACK)
    rows = _do(source, target, Deed(Do.TRANSFER, b"a", wanted), options)
    assert [row.code for row in rows] == ["AZSM2074"]
    again = Judge(options, target.traits.holds, Attempt()).decide(b"a", wanted, target.stat(b"a"))
    assert again.do is Do.TRANSFER


@pytest.mark.parametrize(
    ("attempt", "verify"),
    [(Attempt(True, 0, restarted=True), Verify.SOURCE), (Attempt(True, 0), Verify.READBACK)],
)
def test_work_that_an_earlier_attempt_may_have_left_wrong_is_done_again(places, attempt, verify):
    wanted = MemoryStore(places[0]).seed(b"a", b"wanted", modified=5, mode=0o644)
    target = MemoryStore(places[1])
    left = target.seed(b"a", bytes(6), modified=5, mode=0o600)
    options = JobOptions(verify=verify)
    judge = Judge(options, target.traits.holds, attempt)
    assert not judge.unchanged(b"", [(wanted, left)])[0]
    assert judge.decide(b"a", wanted, left).do is Do.TRANSFER


class _Generous:
    """A source that gives all it has, whatever it was asked for."""

    def read_at(self, offset: int, size: int) -> bytes:
        return b"all of it"

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        return Entry(b"a", Kind.FILE, 4)

    def close(self) -> None:
        pass


def test_more_bytes_than_a_source_was_asked_for_are_no_content():
    with pytest.raises(Corrupt):
        Content(_Generous(), Entry(b"a", Kind.FILE, 4)).read(0, 4)


def test_another_name_of_the_targets_file_does_not_get_the_metadata_of_this_one(folders):
    source, target = folders
    for folder in folders:
        (folder / "a").write_bytes(b"1")
        os.utime(folder / "a", ns=(5, 5))
    (target / "snapshot").hardlink_to(target / "a")
    (source / "a").chmod(0o666)
    before = (target / "snapshot").stat().st_mode
    near, far = StoreSpec("posix", str(source)), StoreSpec("posix", str(target), create=True)

    assert copy(near, far, JobOptions(), workers=0).counters.items["Transferred"] == 1

    assert (target / "a").stat().st_mode & 0o777 == 0o666
    assert (target / "snapshot").stat().st_mode == before
    assert copy(near, far, JobOptions(), workers=0).counters.items == {"Scanned": 1, "NoTransferNeeded": 1}
