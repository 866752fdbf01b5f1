"""The ledger under everything that can happen: each path of a tree is finished or still to be done, exactly once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.unit.model.trees import NAMES, PATHS, TREES, left_in
from wherry.model import ledger, names
from wherry.model.errors import LeaseLost, UsageError
from wherry.model.ledger import Commit, Part, Partition, Phase, Slice, Span, Token, Work

TTL = 60.0
INCARNATION = "here"


def plan_commit(
    span: Span, left: list[bytes], done: int, keep: int, pieces: int
) -> tuple[Span | None, list[Span]]:
    """What a walk that has finished `done` of `left` and gives the later part away would commit."""
    finished, ahead = left[:done], left[done:]
    if not ahead:
        return None, []
    cursor = finished[-1] if finished else span.cursor
    folder = span.prefix
    while True:
        below = folder + b"/" if folder else b""
        inside = sorted({path[len(below) :].split(b"/")[0] for path in ahead})
        begun = cursor is not None and cursor.startswith(below) and cursor[len(below) :].split(b"/")[0]
        fresh = [name for name in inside if name != begun]
        own = folder == span.prefix
        given = fresh[0 if begun in inside else max(1, keep) :]
        if given:
            rest = Span(folder, span.start if own else None, given[0], cursor)
            return rest, Span(folder, given[0], span.stop if own else None).split(given, pieces)
        if begun not in inside or not begun:
            return replace(span, cursor=cursor), []
        folder = below + begun


class Run(RuleBasedStateMachine):
    """Agents that lease, work, die, come back late and say everything twice."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.walked: list[bytes] = []
        self.partitions: dict[int, Partition] = {}
        self.finished: Counter[bytes] = Counter()
        self.tokens: list[Token] = []
        self.last: dict[Token, Commit] = {}
        self.epochs: set[tuple[int, int]] = set()
        self.seen_before: set[bytes] = set()

    @initialize(walked=TREES)
    def start(self, walked: list[bytes]) -> None:
        self.walked = walked
        self.partitions = {1: Partition.of(1, Part(0, Span()))}

    def left(self, partition: Partition) -> list[bytes]:
        return left_in(partition.rest, self.walked) if isinstance(partition.rest, Span) else []

    @precondition(lambda self: any(p.open and not p.leased for p in self.partitions.values()))
    @rule(data=st.data())
    def lease(self, data: st.DataObject) -> None:
        free = [p for p in self.partitions.values() if p.open and not p.leased]
        chosen = data.draw(st.sampled_from(free))
        lease = f"lease-{len(self.tokens)}"
        granted = ledger.grant(chosen, "agent", lease, self.now, TTL)
        token = Token(INCARNATION, granted.id, granted.epoch, lease)
        assert (granted.id, granted.epoch) not in self.epochs
        assert granted.revisited == (chosen.revisited or chosen.attempt > 0)
        self.epochs.add((granted.id, granted.epoch))
        self.tokens.append(token)
        self.partitions[granted.id] = granted

    @precondition(lambda self: self.tokens)
    @rule(
        data=st.data(),
        done=st.integers(0, 6),
        keep=st.integers(0, 2),
        pieces=st.integers(1, 4),
        split=st.booleans(),
    )
    def commit(self, data: st.DataObject, done: int, keep: int, pieces: int, split: bool) -> None:
        token = data.draw(st.sampled_from(self.tokens))
        before = self.partitions[token.partition]
        alive = before.leased and before.lease == token.lease and self.now <= before.expires
        span = before.rest
        left = self.left(before)
        rest: Span | None
        parts: list[Span]
        if not isinstance(span, Span):
            rest, parts = None, []
        elif split:
            rest, parts = plan_commit(span, left, done, keep, pieces)
        else:
            rest = (
                replace(span, cursor=left[done - 1] if left[:done] else span.cursor) if left[done:] else None
            )
            parts = []
        change = Commit(before.seq + 1 if alive else data.draw(st.integers(0, 3)), rest, tuple(parts))
        if not alive:
            if not ledger.repeated(before, token, self.last.get(token, change)):
                with pytest.raises(LeaseLost):
                    ledger.check(before, token, INCARNATION, self.now)
            return
        ledger.check(before, token, INCARNATION, self.now)
        after, given = ledger.commit(before, change, self.now, TTL)
        self.last[token] = change
        self.partitions[after.id] = after
        self.finished.update(left[:done])
        self.seen_before.update(left)
        for part in given:
            assert part.revisited == before.revisited
            number = len(self.partitions) + 1
            self.partitions[number] = Partition.of(number, part)

    @precondition(lambda self: self.last)
    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.last, key=str)))
        partition = self.partitions[token.partition]
        again = self.last[token]
        if (partition.epoch, partition.lease) == (token.epoch, token.lease):
            assert ledger.repeated(partition, token, again)
        else:
            assert not ledger.repeated(partition, token, again)
        if partition.leased and partition.lease == token.lease:
            with pytest.raises(LeaseLost):
                ledger.commit(partition, again, self.now, TTL)

    @rule(seconds=st.sampled_from([1.0, 20.0, 61.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for partition in list(self.partitions.values()):
            after = ledger.expire(partition, self.now)
            assert after.lost == partition.lost + (partition.leased and self.now > partition.expires)
            assert after.rest == partition.rest
            self.partitions[after.id] = after

    @precondition(lambda self: any(p.leased for p in self.partitions.values()))
    @rule(data=st.data(), lost=st.booleans())
    def give_back(self, data: st.DataObject, lost: bool) -> None:
        chosen = data.draw(st.sampled_from([p for p in self.partitions.values() if p.leased]))
        self.partitions[chosen.id] = ledger.release(chosen, lost)

    @precondition(lambda self: any(p.leased for p in self.partitions.values()))
    @rule(data=st.data(), progress=st.booleans())
    def renew(self, data: st.DataObject, progress: bool) -> None:
        chosen = data.draw(st.sampled_from([p for p in self.partitions.values() if p.leased]))
        if not progress and self.now - chosen.progressed > ledger.STALL_SECONDS:
            with pytest.raises(LeaseLost):
                ledger.renew(chosen, progress, self.now, TTL)
        else:
            self.partitions[chosen.id] = ledger.renew(chosen, progress, self.now, TTL)

    @precondition(lambda self: any(p.leased for p in self.partitions.values()))
    @rule(data=st.data(), path=PATHS, name=NAMES)
    def overreach(self, data: st.DataObject, path: bytes, name: bytes) -> None:
        """Work that was not the holder's, or the same work twice, is refused."""
        chosen = data.draw(st.sampled_from([p for p in self.partitions.values() if p.leased]))
        rest = chosen.rest
        assert isinstance(rest, Span)
        mine = set(self.left(chosen))
        if mine:
            with pytest.raises(UsageError):
                ledger.commit(chosen, Commit(chosen.seq + 1, rest, (rest,)), self.now, TTL)
            with pytest.raises(UsageError):
                ledger.commit(
                    chosen, Commit(chosen.seq + 1, None, (rest, Span(b"", None, None))), self.now, TTL
                )
        foreign = Span(names.parent(path), names.basename(path), names.basename(path) + b"\0")
        theirs = set(left_in(foreign, self.walked))
        if theirs - mine:
            with pytest.raises(UsageError):
                ledger.commit(chosen, Commit(chosen.seq + 1, None, (foreign,)), self.now, TTL)

    @invariant()
    def each_path_is_finished_or_to_be_done_once(self) -> None:
        covered = Counter(self.finished)
        for partition in self.partitions.values():
            covered.update(self.left(partition))
        assert covered == Counter(self.walked)

    def teardown(self) -> None:
        """Whatever happened before: somebody who works on finishes the run."""
        for _ in range(1000):
            unfinished = [p for p in self.partitions.values() if p.open]
            if not unfinished:
                break
            self.now += 1000
            chosen = ledger.expire(unfinished[0], self.now)
            granted = ledger.grant(chosen, "last", "end", self.now, TTL)
            self.finished.update(self.left(granted))
            self.partitions[chosen.id], _ = ledger.commit(granted, Commit(1, None), self.now, TTL)
        assert self.finished == Counter(self.walked)


def test_each_path_is_done_exactly_once() -> None:
    run_state_machine_as_test(Run, settings=settings(max_examples=150, stateful_step_count=30, deadline=None))


# ---------------------------------------------------------------- spans

SPANS = st.builds(
    Span, st.one_of(st.just(b""), PATHS), st.none() | NAMES, st.none() | NAMES, st.none() | PATHS
).filter(
    lambda span: (span.start is None or span.stop is None or span.start < span.stop)
    and (span.cursor is None or not span.prefix or span.cursor.startswith(span.prefix + b"/"))
)  # fmt: skip


@given(TREES, SPANS, SPANS)
def test_what_is_covered_holds_nothing_else(walked: list[bytes], outer: Span, inner: Span) -> None:
    if outer.covers(inner):
        assert set(left_in(inner, walked)) <= set(left_in(outer, walked))


@given(TREES, SPANS)
def test_a_span_covers_itself_and_the_whole_covers_all(walked: list[bytes], span: Span) -> None:
    assert span.covers(span)
    assert Span().covers(span)


@given(TREES, st.integers(1, 5))
def test_a_split_loses_and_doubles_nothing(walked: list[bytes], pieces: int) -> None:
    top = sorted({path.split(b"/")[0] for path in walked})

    spans = Span().split(top, pieces)

    assert len(spans) <= pieces
    assert Counter(path for span in spans for path in left_in(span, walked)) == Counter(walked)
    assert all(Span().covers(span) for span in spans)


def test_what_is_finished_is_not_given_away_again() -> None:
    held = ledger.grant(Partition.of(1, Part(0, Span(cursor=b"a/b"))), "a", "l", 0, TTL)

    for again in (Span(b"a", b"b"), Span(b"a"), Span(b"", b"a"), Span(cursor=b"a")):
        with pytest.raises(UsageError):
            ledger.commit(held, Commit(1, None, (again,)), 0, TTL)
    # What lies in the finished folder is not finished with it.
    ledger.commit(held, Commit(1, Span(b"a/b"), (Span(b"a", b"c"), Span(b"", b"b"))), 0, TTL)


def test_too_many_parts_are_refused() -> None:
    held = ledger.grant(Partition.of(1, Part(0, Span())), "a", "l", 0, TTL)
    parts = tuple(Span(b"", b"%04d" % n, b"%04d\0" % n) for n in range(ledger.MAX_PARTS + 1))

    with pytest.raises(UsageError):
        ledger.commit(held, Commit(1, None, parts), 0, TTL)
    assert len(ledger.commit(held, Commit(1, None, parts[:-1]), 0, TTL)[1]) == ledger.MAX_PARTS


def test_a_lease_from_before_a_restore_is_refused() -> None:
    held = ledger.grant(Partition.of(1, Part(0, Span())), "a", "l", 0, TTL)

    with pytest.raises(LeaseLost, match="restore"):
        ledger.check(held, Token("elsewhere", 1, 1, "l"), INCARNATION, 0)
    with pytest.raises(LeaseLost):
        ledger.check(held, Token(INCARNATION, 1, 1, "guessed"), INCARNATION, 0)
    with pytest.raises(LeaseLost):
        ledger.grant(held, "b", "m", 0, TTL)
    with pytest.raises(LeaseLost, match="in time"):
        ledger.check(held, Token(INCARNATION, 1, 1, "l"), INCARNATION, TTL + 0.1)


def test_what_kills_its_holders_is_cut_and_stays_suspect() -> None:
    partition = Partition.of(1, Part(0, Span()))
    for number in range(ledger.LOSSES_BEFORE_ISOLATION):
        assert not partition.isolate
        partition = ledger.expire(ledger.grant(partition, "a", f"l{number}", 0, TTL), TTL + 1)
    assert partition.isolate

    held = ledger.grant(partition, "a", "last", 0, TTL)
    after, parts = ledger.commit(
        held, Commit(1, None, (Span(b"", None, b"m"), Span(b"", b"m", None))), 0, TTL
    )

    assert not after.open
    again = [Partition.of(2 + at, part) for at, part in enumerate(parts)]
    assert [one.isolate for one in again] == [False, False]
    assert [one.revisited for one in again] == [True, True]
    lost = ledger.expire(ledger.grant(again[0], "a", "x", 0, TTL), TTL + 1)
    assert lost.isolate


# ---------------------------------------------------------------- slices and phases

GROUPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), PATHS), unique=True, max_size=40)


@given(GROUPS, st.integers(1, 5))
def test_names_of_one_file_stay_together(items: list[tuple[int, int, bytes]], size: int) -> None:
    keys = sorted(ledger.work_key(Phase.LINKS, path, (device, inode)) for device, inode, path in items)

    parts = list(ledger.cut(Phase.LINKS, keys, size))

    assert exactly_once(keys, parts)
    groups = [{key[:32] for key in keys if inside(part.work, key)} for part in parts]
    assert sum(map(len, groups)) == len(set().union(*groups)) if groups else not keys


@given(st.sets(PATHS, max_size=40), st.integers(1, 5), st.sampled_from([Phase.DELETE, Phase.FOLDERS]))
def test_deeper_comes_before_what_it_lies_in(paths: set[bytes], size: int, phase: Phase) -> None:
    keys = sorted(ledger.work_key(phase, path) for path in paths)

    parts = list(ledger.cut(phase, keys, size))

    assert exactly_once(keys, parts)
    stage = {
        path: part.stage
        for part in parts
        for path in paths
        if inside(part.work, ledger.work_key(phase, path))
    }
    for path in paths:
        for other in paths:
            if other.startswith(path + b"/"):
                assert stage[other] < stage[path]
    assert all(Phase(one >> 16) is phase for one in stage.values())


@given(st.sets(PATHS, max_size=20))
def test_late_items_are_walked_with_all_below_them(paths: set[bytes]) -> None:
    parts = list(ledger.cut(Phase.LATE, sorted(paths)))

    assert len(parts) == len(paths)
    for path, part in zip(sorted(paths), parts, strict=True):
        assert isinstance(part.work, Span)
        assert left_in(part.work, [path, path + b"/below", path + b"!", path + b"\x01"]) == [
            path,
            path + b"/below",
        ]


@given(st.sets(PATHS, min_size=2, max_size=20), st.data())
def test_a_slice_is_worked_off_in_order(paths: set[bytes], data: st.DataObject) -> None:
    keys = sorted(ledger.work_key(Phase.FOLDERS, path) for path in paths)
    whole = Slice(Phase.FOLDERS, b"", keys[-1])
    middle = data.draw(st.sampled_from(keys))
    held = ledger.grant(Partition.of(1, Part(Phase.FOLDERS << 16, whole)), "a", "l", 0, TTL)

    after, _ = ledger.commit(held, Commit(1, Slice(Phase.FOLDERS, middle, keys[-1])), 0, TTL)

    assert after.rest == Slice(Phase.FOLDERS, middle, keys[-1])
    for wrong in (
        (Slice(Phase.FOLDERS, b"", keys[-1] + b"x"),),
        (Slice(Phase.DELETE, b"", middle),),
        (Span(),),
        (Slice(Phase.FOLDERS, b"", keys[-1]), Slice(Phase.FOLDERS, b"", middle)),
    ):
        with pytest.raises(UsageError):
            ledger.commit(held, Commit(1, None, wrong), 0, TTL)


def test_paths_of_any_depth_have_a_key() -> None:
    deep = b"/".join([b"x"] * 70_000)

    assert ledger.work_key(Phase.FOLDERS, deep) < ledger.work_key(Phase.FOLDERS, b"x")
    assert ledger.work_key(Phase.LINKS, b"p", (-1, 2**64 - 1)).endswith(b"p")
    assert ledger.work_key(Phase.LATE, b"p") == b"p"


def inside(work: Work, key: bytes) -> bool:
    assert isinstance(work, Slice)
    return work.after < key <= work.through


def exactly_once(keys: list[bytes], parts: list[Part]) -> bool:
    return all(sum(inside(part.work, key) for part in parts) == 1 for key in keys)
