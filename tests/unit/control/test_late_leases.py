"""What an agent could not tell in time counts once: after its lease ran out, until somebody else has taken over."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from sqlalchemy import select

from tests.unit.control.stage import TTL, Stage, done
from wherry.control.db.tables_ledger import run_events
from wherry.control.services import ledger, run_log
from wherry.model.errors import ApiError, LeaseLost
from wherry.model.ledger import Commit, Span
from wherry.model.outcomes import Counters, Row
from wherry.model.run import RunStatus
from wherry.model.wire import Grant, Progress

NAMES = [b"%03d" % n for n in range(60)]


def told(seq: int, rest: Span | None, log: list[Row], parts: tuple[Span, ...] = ()) -> Progress:
    """A commit without segments."""
    counters = Counters()
    for row in log:
        counters.scanned(row.size)
        counters.row(row)
    return Progress(Commit(seq, rest, parts), counters)


def late(stage: Stage, grant: Grant, agent: str, progress: Progress) -> None:
    holder = stage.agent(agent)
    ledger.commit_late(stage.conn, holder, grant.order.run, grant.token, progress, stage.terms)


def lost(stage: Stage) -> None:
    """The time of all leases is over, and somebody has looked."""
    stage.now += TTL + 1
    ledger.expire(stage.conn, stage.now, 1000)


def transferred(stage: Stage, run: str) -> int:
    return stage.run(run).counters.items.get("Transferred", 0)


@pytest.mark.parametrize("looked_at", [True, False])
def test_work_is_counted_once_after_its_lease_ran_out(stage: Stage, looked_at: bool) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    grant = stage.lease(run, "a")
    stage.commit(grant, "a", 1, Span(cursor=b"a"), log=done(b"a"))
    stage.now += TTL + 1
    if looked_at:
        ledger.expire(stage.conn, stage.now, 1000)
    second, third = told(2, Span(cursor=b"b"), done(b"b")), told(3, Span(cursor=b"c"), done(b"c"))
    for progress in (second, second, third, second, third):
        late(stage, grant, "a", progress)
    assert transferred(stage, run) == 3
    if not looked_at:
        lost(stage)
    again = stage.lease(run, "a")
    assert again.work == Span(cursor=b"c")
    assert again.revisited


def test_the_last_commit_ends_the_run(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    grant = stage.lease(run, "a")
    lost(stage)
    for _ in range(2):
        late(stage, grant, "a", told(1, None, done(b"a")))
        if stage.run(run).ended:
            break
    assert stage.run(run).status is RunStatus.SUCCEEDED
    assert transferred(stage, run) == 1
    with pytest.raises(LeaseLost):
        late(stage, grant, "a", told(1, None, done(b"a")))


def test_who_has_taken_over_counts_all_of_it(stage: Stage) -> None:
    run = stage.start(stage.job(wherry={"agentGroup": stage.group("a", "b")}))
    grant = stage.lease(run, "a")
    lost(stage)
    successor = stage.lease(run, "b")
    for _ in range(2):
        with pytest.raises(LeaseLost, match="taken over"):
            late(stage, grant, "a", told(1, Span(cursor=b"a"), done(b"a")))
        # Nor when the successor is gone, too.
        lost(stage)
    late(stage, successor, "b", told(1, None, done(b"a", b"b")))
    assert transferred(stage, run) == 2


def test_a_gap_is_not_jumped(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    grant = stage.lease(run, "a")
    lost(stage)
    with pytest.raises(LeaseLost, match="does not follow"):
        late(stage, grant, "a", told(2, None, done(b"b")))
    assert transferred(stage, run) == 0


def test_a_late_lease_is_its_holders_alone(stage: Stage) -> None:
    run = stage.start(stage.job(wherry={"agentGroup": stage.group("a", "b")}))
    grant = stage.lease(run, "a")
    progress = told(1, None, done(b"a"))
    with pytest.raises((LeaseLost, ApiError)):
        late(stage, grant, "b", progress)
    lost(stage)
    guessed = replace(grant, token=replace(grant.token, lease="0" * 32))
    restored = replace(grant, token=replace(grant.token, incarnation="before"))
    for who, shown in (("b", grant), ("a", guessed), ("a", restored)):
        with pytest.raises(LeaseLost):
            late(stage, shown, who, progress)
    with pytest.raises(ApiError) as absent:
        late(stage, grant, "stranger", progress)
    assert absent.value.status == 404
    assert transferred(stage, run) == 0


@pytest.mark.parametrize("seed", range(8))
def test_each_item_counts_once_whatever_comes_late(stage: Stage, seed: int) -> None:
    chance = random.Random(seed)
    agents = ("a", "b")
    run = stage.start(stage.job(wherry={"agentGroup": stage.group(*agents)}))
    waiting: list[tuple[str, Grant, list[Progress]]] = []
    while not stage.run(run).ended:
        agent = chance.choice(agents)
        if chance.random() < 0.5:
            lost(stage)
        grant = ledger.lease(stage.conn, stage.agent(agent), run, stage.terms)
        if grant is not None:
            waiting.append((agent, grant, spooled(chance, grant)))
        chance.shuffle(waiting)
        for who, shown, letters in list(waiting):
            if chance.random() < 0.4:
                waiting.remove((who, shown, letters))
                deliver(stage, chance, who, shown, letters)
    assert stage.run(run).status is RunStatus.SUCCEEDED
    assert stage.run(run).counters.items == {"Scanned": len(NAMES), "Transferred": len(NAMES)}


def spooled(chance: random.Random, grant: Grant) -> list[Progress]:
    """What a holder that nobody hears finishes."""
    work = grant.work
    assert isinstance(work, Span)
    names = [name for name in NAMES if work.cursor is None or name > work.cursor]
    letters = []
    for seq in range(1, chance.randint(2, 4)):
        finished, names = names[:15], names[15:]
        rest = Span(cursor=finished[-1]) if names else None
        letters.append(told(seq, rest, done(*finished)))
        if rest is None:
            break
    return letters


def deliver(stage: Stage, chance: random.Random, who: str, grant: Grant, letters: list[Progress]) -> None:
    """Some answers are lost on the way, so that letters come again."""
    for progress in letters:
        for _ in range(chance.choice((1, 1, 2))):
            try:
                late(stage, grant, who, progress)
            except LeaseLost:
                return


def test_events_of_a_spool_are_told_once_and_in_order(stage: Stage) -> None:
    run = stage.start(stage.job(agentName=stage.agent("a").name))
    oid = stage.agent("a").oid
    chance = random.Random(1)
    events = [f"event {number}" for number in range(1, 40)]
    at = 0
    while at < len(events):
        first = max(0, at - chance.randint(0, 3))
        batch = events[first : first + chance.randint(1, 8)]
        known = run_log.told_already(stage.conn, oid, "spool", first + 1, len(batch))
        for message in batch[known:]:
            run_log.tell(stage.conn, run, message, stage.now, source="a")
        at = max(at, first + len(batch))
    rows = select(run_events.c.message).where(run_events.c.run == run, run_events.c.source == "a")
    assert list(stage.conn.execute(rows.order_by(run_events.c.id)).scalars()) == events
    assert run_log.told_already(stage.conn, oid, "another spool", 1, 1) == 0, "a new spool counts anew"
