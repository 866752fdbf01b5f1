"""The ledger in the database: every item counted once whatever happens to leases, phases in their order, fair turns."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.unit.control.stage import TTL, Stage, done
from wherry.control import dispatch
from wherry.control.services import ledger, partition_rows, phases, presence
from wherry.control.services.ledger import Terms
from wherry.model.errors import UNREACHED, ApiError, LeaseLost, UsageError
from wherry.model.ledger import (
    LOSSES_BEFORE_GIVING_UP,
    LOSSES_BEFORE_ISOLATION,
    Part,
    Phase,
    Slice,
    Span,
    WorkItem,
    work_key,
)
from wherry.model.run import RunStatus
from wherry.model.wire import Grant

NAMES = [b"%03d" % n for n in range(200)]


def left(span: Span) -> list[bytes]:
    """The names of one flat folder that a span still has to do."""
    return [
        name
        for name in NAMES
        if (span.start is None or name >= span.start)
        and (span.stop is None or name < span.stop)
        and (span.cursor is None or name > span.cursor)
    ]


def folder(path: bytes) -> WorkItem:
    return WorkItem(Phase.FOLDERS, work_key(Phase.FOLDERS, path), path)


@pytest.mark.parametrize("seed", range(12))
def test_each_item_counts_once_whatever_happens_to_leases(stage: Stage, seed: int) -> None:
    chance = random.Random(seed)
    agents = ("a", "b", "c")
    run = stage.start(stage.job(wherry={"agentGroup": stage.group(*agents)}))
    held: list[tuple[str, Grant, int]] = []
    counted: Counter[bytes] = Counter()
    while not stage.run(run).ended:
        stage.now += chance.choice((0.1, 1, 20))
        deed = chance.random()
        if deed < 0.3 or not held:
            agent = chance.choice(agents)
            ledger.expire(stage.conn, stage.now, 1000)
            grant = ledger.lease(stage.conn, stage.agent(agent), run, stage.terms)
            if grant is not None:
                held.append((agent, grant, 0))
        elif deed < 0.4:
            stage.now += TTL
            ledger.expire(stage.conn, stage.now, 1000)
        elif deed < 0.5:
            agent, grant, _ = held.pop(chance.randrange(len(held)))
            try:
                ledger.release(stage.conn, stage.agent(agent), run, grant.token, "", "", stage.now)
            except LeaseLost:
                continue
        else:
            step(stage, chance, held, counted)
    assert stage.run(run).status is RunStatus.SUCCEEDED
    assert counted == Counter(NAMES)
    assert stage.run(run).counters.items == {"Scanned": len(NAMES), "Transferred": len(NAMES)}


def step(
    stage: Stage, chance: random.Random, held: list[tuple[str, Grant, int]], counted: Counter[bytes]
) -> None:
    """One holder finishes some names, perhaps gives some away, and commits; perhaps it commits twice."""
    at = chance.randrange(len(held))
    agent, grant, seq = held[at]
    work = grant.work
    assert isinstance(work, Span)
    names = left(work)
    finished = names[: chance.choice((0, 1, 5, len(names)))]
    rest = names[len(finished) :]
    kept: Span | None = None if not rest else replace(work, cursor=finished[-1]) if finished else work
    parts: tuple[Span, ...] = ()
    if len(rest) > 4 and kept is not None and chance.random() < 0.4:
        kept, *others = kept.split(rest, 3)
        parts = tuple(others)
    try:
        log = done(*finished)
        answer = stage.commit(grant, agent, seq + 1, kept, log=log, parts=parts)
        if chance.random() < 0.3:
            assert stage.commit(grant, agent, seq + 1, kept, log=log, parts=parts) == answer
    except LeaseLost:
        del held[at]
        return
    counted.update(finished)
    if kept is None:
        del held[at]
    else:
        held[at] = (agent, replace(grant, work=kept), seq + 1)


def test_a_commit_that_takes_too_much_changes_nothing(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    grant = stage.lease(run, "a")
    stage.commit(grant, "a", 1, Span(cursor=b"m"), log=done(b"a"))
    with stage.conn.begin_nested() as attempt:
        with pytest.raises(UsageError):
            stage.commit(grant, "a", 2, Span(cursor=b"c"), log=done(b"b"))
        attempt.rollback()
    assert stage.run(run).counters.items["Transferred"] == 1


def test_tokens_of_another_database_mean_nothing(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    grant = stage.lease(run, "a")
    stale = replace(grant, token=replace(grant.token, incarnation="before"))
    with pytest.raises(LeaseLost, match="restore"):
        stage.commit(stale, "a", 1, None)
    unknown = replace(grant, token=replace(grant.token, partition=10**6))
    with pytest.raises(ApiError) as error:
        stage.commit(unknown, "a", 1, None)
    assert error.value.status == 404


def test_a_holder_that_nothing_moves_for_loses_its_lease(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    grant = stage.lease(run, "a")
    for _ in range(6):
        stage.now += 50
        ledger.renew(stage.conn, stage.agent("a"), run, grant.token, False, stage.terms)
    stage.now += 10
    with pytest.raises(LeaseLost, match="five minutes"):
        ledger.renew(stage.conn, stage.agent("a"), run, grant.token, False, stage.terms)


def test_losing_leases_isolates_a_partition_and_ends_the_run_at_last(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    for attempt in range(LOSSES_BEFORE_ISOLATION):
        assert not stage.lease(run, "a").isolate, attempt
        stage.now += TTL + 1
        assert ledger.expire(stage.conn, stage.now, 4) == 1
    assert stage.lease(run, "a").isolate
    stage.now += TTL + 1
    ledger.expire(stage.conn, stage.now, 4)
    assert stage.row(run).error_code == "AZSM1041"


def give_back(stage: Stage, run: str, code: str, patience: float) -> None:
    token = stage.lease(run, "a").token
    ledger.release(stage.conn, stage.agent("a"), run, token, code, "", stage.now, patience)


def test_work_that_kills_those_who_cut_it_is_to_fail_untouched(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    for _ in range(LOSSES_BEFORE_GIVING_UP):
        assert not stage.lease(run, "a").hopeless
        stage.now += TTL + 1
        ledger.expire(stage.conn, stage.now, 100)
    assert stage.lease(run, "a").hopeless


@pytest.mark.parametrize("code", sorted(UNREACHED))
def test_a_place_that_is_not_reached_is_waited_for_and_nobody_is_blamed(stage: Stage, code: str) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    for _ in range(LOSSES_BEFORE_GIVING_UP + 1):
        give_back(stage, run, code, 60)
    grant = stage.lease(run, "a")
    assert not grant.isolate
    ledger.release(stage.conn, stage.agent("a"), run, grant.token, "", "", stage.now)
    assert not stage.run(run).ended
    stage.now += 61
    give_back(stage, run, code, 60)
    assert stage.row(run).error_code == code


def test_split_is_asked_for_while_others_wait(stage: Stage) -> None:
    run = stage.start(stage.job(wherry={"agentGroup": stage.group("a", "b")}))
    grant = stage.lease(run, "a")

    def asked() -> bool:
        return ledger.renew(stage.conn, stage.agent("a"), run, grant.token, True, stage.terms).split

    assert not asked()
    stranger = presence.begin_wait(stage.conn, stage.agent("c").key, stage.now, stage.now + 25)
    assert not asked()
    waiting = presence.begin_wait(stage.conn, stage.agent("b").key, stage.now, stage.now + 25)
    assert asked()
    stage.commit(grant, "a", 1, Span(stop=b"m"), parts=(Span(start=b"m"),))
    assert not asked()
    stage.lease(run, "b")
    assert asked()
    presence.end_wait(stage.conn, waiting)
    presence.end_wait(stage.conn, stranger)
    assert not asked()


def test_runs_take_turns(stage: Stage) -> None:
    holder = stage.agent("a")
    first, second = (stage.start(stage.job(agentName="a")) for _ in range(2))
    for run in (first, second):
        parts = [Part(0, Span(start=b"%d" % n, stop=b"%d" % (n + 1))) for n in range(4)]
        partition_rows.add(stage.conn, run, parts)
    served = []
    for _ in range(6):
        stage.now += 1
        run = dispatch.candidates(stage.conn, holder, stage.now)[0]
        stage.lease(run, "a")
        served.append(run)
    assert Counter(served) == {first: 3, second: 3}
    assert all(one != other for one, other in pairwise(served))


def test_the_counted_item_of_two_stays(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    key = work_key(Phase.FOLDERS, b"d")
    found = []
    for counted, etag in ((False, "1"), (True, "2"), (True, "3"), (False, "4")):
        partition_rows.put_off(stage.conn, run, [WorkItem(Phase.FOLDERS, key, b"d", counted, etag)])
        (item,) = partition_rows.items(stage.conn, run, Slice(Phase.FOLDERS, b"", b"\xff"), b"", 10)
        found.append((item.counted, item.etag))
    assert found == [(False, "1"), (True, "2"), (True, "2"), (True, "2")]


def test_items_that_a_commit_leaves_to_nobody_are_gone(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    keys = [b"%02d" % n for n in range(20)]
    partition_rows.put_off(stage.conn, run, [WorkItem(Phase.LINKS, key, key) for key in keys])
    whole = Slice(Phase.LINKS, b"02", b"17")
    kept = [Slice(Phase.LINKS, b"12", b"15"), Slice(Phase.LINKS, b"05", b"07")]
    partition_rows.forget_done(stage.conn, run, whole, kept)
    assert list(partition_rows.keys(stage.conn, run, Phase.LINKS)) == [
        b"00", b"01", b"02", b"06", b"07", b"13", b"14", b"15", b"18", b"19"
    ]  # fmt: skip


def test_items_put_off_late_get_a_phase_of_their_own_again(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name, copyMode="Mirror"))
    grant = stage.lease(run, "a")
    replaced = WorkItem(Phase.LATE, b"x/y", b"x/y")
    gone = WorkItem(Phase.DELETE, work_key(Phase.DELETE, b"x/y"), b"x/y", counted=False)
    first = WorkItem(Phase.LINKS, work_key(Phase.LINKS, b"h", (1, 1)), b"h")
    stage.commit(grant, "a", 1, None, log=done(b"a"), deferred=(replaced, gone, first, folder(b"x")))

    grant = stage.lease(run, "a")
    assert grant.phase is Phase.DELETE
    stage.commit(grant, "a", 1, None)
    grant = stage.lease(run, "a")
    assert (grant.phase, grant.work) == (Phase.LATE, Span(b"x", b"y", b"y\0"))
    link = WorkItem(Phase.LINKS, work_key(Phase.LINKS, b"x/y/h", (1, 1)), b"x/y/h")
    stage.commit(grant, "a", 1, None, deferred=(link, folder(b"x/y")))
    seen = []
    while not stage.run(run).ended:
        grant = stage.lease(run, "a")
        seen.append(grant.phase)
        if grant.phase is Phase.LINKS:
            # Both names of the file together.
            assert isinstance(grant.work, Slice)
            assert partition_rows.items(stage.conn, run, grant.work, b"", 10) == [first, link]
        stage.commit(grant, "a", 1, None)
    assert seen == [Phase.LINKS, Phase.FOLDERS, Phase.FOLDERS]
    assert stage.run(run).status is RunStatus.SUCCEEDED


def test_no_stage_begins_before_the_one_below_is_done(stage: Stage) -> None:
    run = stage.start(stage.job(wherry={"agentGroup": stage.group("a", "b")}))
    grant = stage.lease(run, "a")
    stage.commit(grant, "a", 1, None, deferred=(folder(b"d"), folder(b"d/e"), folder(b"f/g")))
    deep = stage.lease(run, "a")
    assert isinstance(deep.work, Slice)
    assert [one.path for one in partition_rows.items(stage.conn, run, deep.work, b"", 9)] == [b"d/e", b"f/g"]
    assert ledger.lease(stage.conn, stage.agent("b"), run, stage.terms) is None
    stage.commit(deep, "a", 1, None)
    assert stage.lease(run, "b").phase is Phase.FOLDERS


def test_many_items_are_cut_into_slices(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    grant = stage.lease(run, "a")
    stage.commit(grant, "a", 1, None, deferred=tuple(folder(b"d/%05d" % n) for n in range(12_000)))
    sizes = []
    while not stage.run(run).ended:
        grant = stage.lease(run, "a")
        assert isinstance(grant.work, Slice)
        after, count = b"", 0
        while page := ledger.items(stage.conn, stage.agent("a"), run, grant.token, after, 1000, stage.now):
            after, count = page[-1].key, count + len(page)
        sizes.append(count)
        stage.commit(grant, "a", 1, None)
    assert sizes == [5000, 5000, 2000]


def test_settling_once_too_often_does_no_harm(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    phases.settle(stage.conn, run, stage.now)
    phases.settle(stage.conn, "none", stage.now)
    grant = ledger.lease(stage.conn, stage.agent("a"), run, Terms(stage.now, 1))
    assert grant is not None
    phases.settle(stage.conn, run, stage.now)
    assert stage.run(run).status is RunStatus.STARTED
