"""Runs from start to end over the network: a served control plane, registered agents, a real container."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import AccessPolicy

from tests.azurite import Azurite
from tests.integration.migration import QUICK, Agent, World, rows, sas_works, world
from wherry.model.errors import LeaseLost, RunError
from wherry.model.ledger import Phase, Slice, Span, WorkItem, work_key
from wherry.model.outcomes import Outcome
from wherry.model.wire import Grant


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        with world(tmp_path_factory.mktemp("plane"), azurite) as made:
            yield made


def test_whole_run_into_a_container(here: World, azurite: Azurite) -> None:
    agent = here.agent("one")
    container = azurite.container().container_name
    job = here.job(container=container, agent="one")
    job.start()
    assert job.status == "Queued"

    grant = agent.take()
    assert grant.work == Span()
    assert agent.sight(grant, clock=77) == 77
    secret = agent.ledger(grant).credential(grant.token).secret
    assert sas_works(azurite, container, secret)
    assert job.status == "Started"
    agent.commit(grant, 1, rows("a", "b"), Span(cursor=b"b"))
    assert job.run["itemsTransferred"] == 2
    agent.commit(grant, 2, rows("c"))

    run = job.await_status("Succeeded")
    assert (run["itemsScanned"], run["bytesTransferred"]) == (3, 30)
    assert [row["itemPath"] for row in job.copy_log()] == ["a", "b", "c"]
    ended = job.await_run(lambda run: run["wherry"]["accessState"] == "Ended")
    assert "roleAssignments" not in ended["wherry"]
    assert not sas_works(azurite, container, secret)


def test_a_schedule_starts_a_run_by_itself(here: World, azurite: Azurite) -> None:
    agent = here.agent("one")
    job = here.job(container=azurite.container().container_name, agent="one")
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat(timespec="seconds")
    once = {"frequency": "Onetime", "startDate": soon, "isActive": True}
    answer = here.arm("PATCH", job.path, {"properties": {"schedule": once}})
    assert answer.status_code == 200, answer.text
    agent.commit(agent.take(20), 1, rows("a"))
    job.run_path = here.arm("GET", job.path).json()["properties"]["latestJobRunResourceId"]
    run = job.await_status("Succeeded")
    assert run["triggerType"] == "Scheduled"
    assert run["scheduledExecutionTime"].startswith(soon.removesuffix("+00:00"))
    assert here.arm("GET", job.path).json()["properties"]["wherry"]["lastFiring"]["outcome"] == "Started"


def test_access_ends_however_a_run_ends(here: World, azurite: Azurite) -> None:
    agent = here.agent("one")
    for end in ("done", "failed", "stopped"):
        container = azurite.container().container_name
        job = here.job(container=container, agent="one")
        job.start()
        grant = agent.take()
        secret = agent.ledger(grant).credential(grant.token).secret
        assert sas_works(azurite, container, secret)
        (made,) = here.assignments(agent)
        assert made["scope"].endswith(f"/containers/{container}")
        assert "DateTimeLessThan" in made["condition"]

        if end == "done":
            agent.commit(grant, 1, rows("a"))
        elif end == "failed":
            agent.ledger(grant).release(grant.token, "AZSM1001", "it is not there")
        else:
            assert job.order("stopJob").status_code == 200
            assert agent.ledger(grant).renew(grant.token, progress=False).stop
            agent.ledger(grant).release(grant.token)

        job.await_run(lambda run: run["wherry"]["accessState"] == "Ended")
        assert here.assignments(agent) == []
        assert not sas_works(azurite, container, secret)


def test_a_code_that_fails_the_run_ends_it(here: World) -> None:
    agent = here.agent("one")
    job = here.job(agent="one")
    job.start()
    grant = agent.take()
    agent.ledger(grant).release(grant.token, "AZSM1001", "No such folder.")

    run = job.await_status("Failed")
    assert run["error"]["code"] == "AZSM1001"
    assert "No such folder." in run["error"]["message"]
    with pytest.raises(LeaseLost):
        agent.commit(grant, 1, [])
    assert job.start()
    job.order("stopJob")


def test_second_start_of_a_running_job(here: World) -> None:
    here.agent("one")
    job = here.job(agent="one")
    job.start()

    again = job.order("startJob")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "JobAlreadyRunning")
    assert job.order("stopJob").status_code == 200
    assert job.status == "Canceled"
    nothing = job.order("stopJob")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (409, "JobNotRunning")


def test_stop_of_a_run_at_work(here: World) -> None:
    agent = here.agent("one")
    job = here.job(agent="one")
    job.start()
    grant = agent.take()
    agent.commit(grant, 1, rows("a"), Span(cursor=b"a"))
    assert job.status == "Running"

    assert job.order("stopJob").status_code == 200
    assert job.status == "CancelRequested"
    assert agent.ledger(grant).renew(grant.token, progress=True).stop
    assert job.status == "Canceling"
    assert agent.commit(grant, 2, rows("b"), Span(cursor=b"b")).stop
    agent.ledger(grant).release(grant.token)
    run = job.await_status("Canceled")
    assert run["itemsTransferred"] == 2
    assert agent.protocol.take(0) is None


def test_stop_reaches_its_end_when_the_agent_is_silent(here: World) -> None:
    agent = here.agent("one")
    job = here.job(agent="one")
    job.start()
    agent.take()
    assert job.order("stopJob").status_code == 200

    job.await_status("Canceled", seconds=10)


def test_repeated_commit_counts_once(here: World) -> None:
    agent = here.agent("one")
    job = here.job(agent="one")
    job.start()
    grant = agent.take()
    log = rows("a", "b")
    first = agent.commit(grant, 1, log, Span(cursor=b"b"))
    assert agent.commit(grant, 1, log, Span(cursor=b"b")) == first
    assert job.run["itemsTransferred"] == 2
    assert len(job.copy_log()) == 2

    last = rows("c")
    progress = agent.progress(grant, 2, last)
    answer = agent.ledger(grant).commit(grant.token, progress)
    assert agent.ledger(grant).commit(grant.token, progress) == answer
    assert job.await_status("Succeeded")["itemsTransferred"] == 3


def test_two_agents_share_a_run(here: World) -> None:
    first, second = here.agent("one"), here.agent("two")
    job = here.job(group=here.group("one", "two"))
    job.start()
    mine = first.take()
    waiting = Thread(second)
    deadline = time.monotonic() + 10
    while not first.ledger(mine).renew(mine.token, progress=True).split:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    left, right = Span(stop=b"m", cursor=b"a"), Span(start=b"m")
    first.commit(mine, 1, rows("a"), left, parts=(right,))

    theirs = waiting.result()
    assert theirs.work == right
    assert not theirs.revisited
    second.commit(theirs, 1, rows("n", "o"))
    first.commit(mine, 2, rows("b"))
    assert job.await_status("Succeeded")["itemsTransferred"] == 4
    assert here.assignments(first) == here.assignments(second) == []


def test_a_lost_lease_goes_to_another_agent(here: World) -> None:
    first, second = here.agent("one"), here.agent("two")
    job = here.job(group=here.group("one", "two"))
    job.start()
    mine = first.take()
    first.commit(mine, 1, rows("a"), Span(cursor=b"a"))

    theirs = second.take(wait=15)
    assert theirs.work == Span(cursor=b"a")
    assert theirs.revisited
    for attempt in (
        lambda: first.commit(mine, 2, rows("b")),
        lambda: first.ledger(mine).renew(mine.token, progress=True),
        lambda: first.ledger(mine).credential(mine.token),
        lambda: first.ledger(theirs).renew(theirs.token, progress=True),
    ):
        with pytest.raises(LeaseLost):
            attempt()
    second.commit(theirs, 1, rows("b"))
    assert job.await_status("Succeeded")["itemsTransferred"] == 2
    assert any(row["statusCode"] == "AZSM1023" for row in job.events(level="Warning"))


def test_phases_follow_each_other(here: World) -> None:
    agent = here.agent("one")
    job = here.job(agent="one", copyMode="Mirror")
    job.start()
    grant = agent.take()
    link = WorkItem(Phase.LINKS, work_key(Phase.LINKS, b"h", (1, 2)), b"h")
    gone = WorkItem(Phase.DELETE, work_key(Phase.DELETE, b"gone"), b"gone", counted=False, etag="e")
    folders = [WorkItem(Phase.FOLDERS, work_key(Phase.FOLDERS, path), path) for path in (b"d", b"d/e")]
    agent.commit(grant, 1, rows("a"), deferred=(*folders, gone, link))

    seen = []
    for number in range(4):
        assert job.status == "Running"
        grant = agent.take()
        assert isinstance(grant.work, Slice)
        found = agent.ledger(grant).items(grant.token, grant.work, b"", 100)
        seen.append((grant.phase, [item.path for item in found]))
        outcome = Outcome.DELETED if grant.phase is Phase.DELETE else Outcome.TRANSFERRED
        agent.commit(grant, 1, rows(f"done-{number}", outcome=outcome))
    assert seen == [
        (Phase.LINKS, [b"h"]),
        (Phase.DELETE, [b"gone"]),
        (Phase.FOLDERS, [b"d/e"]),
        (Phase.FOLDERS, [b"d"]),
    ]
    run = job.await_status("Succeeded")
    assert run["wherry"]["itemsDeleted"] == 1
    assert run["itemsTransferred"] == 4


def test_a_mirror_that_would_delete_too_much_deletes_nothing(here: World) -> None:
    agent = here.agent("one")
    job = here.job(agent="one", copyMode="Mirror", wherry={"maxDelete": 1})
    job.start()
    grant = agent.take()
    gone = [WorkItem(Phase.DELETE, work_key(Phase.DELETE, p), p, counted=False) for p in (b"x", b"y")]
    folder = WorkItem(Phase.FOLDERS, work_key(Phase.FOLDERS, b"d"), b"d")
    agent.commit(grant, 1, rows("a"), deferred=(*gone, folder))

    grant = agent.take()
    assert grant.phase is Phase.FOLDERS
    agent.commit(grant, 1, rows("d"))
    run = job.await_status("Failed")
    assert run["error"]["code"] == "AZSM1034"
    assert agent.protocol.take(0) is None


def test_failed_items_end_a_run_failed_and_unsupported_ones_with_a_warning(here: World) -> None:
    agent = here.agent("one")
    for outcome, code, status in (
        (Outcome.FAILED, "AZSM2062", "Failed"),
        (Outcome.UNSUPPORTED, "AZSM2021", "Succeeded"),
    ):
        job = here.job(agent="one")
        job.start()
        grant = agent.take()
        agent.commit(grant, 1, [*rows("a"), *rows("b", outcome=outcome, code=code)])
        run = job.await_status(status)
        if status == "Failed":
            assert run["error"] == {"code": "AZSM1046", "message": "1 item failed, the rest is copied."}
        else:
            assert "cannot hold" in run["warnings"][0]["message"]


def test_another_source_than_before_stops_the_run(here: World) -> None:
    agent = here.agent("one")
    job = here.job(agent="one")
    job.start()
    grant = agent.take()
    agent.sight(grant, "disk-1")
    agent.commit(grant, 1, rows("a"))
    job.await_status("Succeeded")

    job.start()
    grant = agent.take()
    with pytest.raises(RunError) as refused:
        agent.sight(grant, "disk-2")
    assert refused.value.code == "AZSM1005"
    assert job.await_status("Failed")["error"]["code"] == "AZSM1005"


def test_claims_that_overlap(here: World, azurite: Azurite) -> None:
    here.agent("one")
    container = azurite.container().container_name
    first = here.job(container=container, agent="one", targetSubpath="a/b")
    first.start()
    for subpath, free in (("a", False), ("a/b/c", False), ("", False), ("a/bc", True)):
        other = here.job(container=container, agent="one", targetSubpath=subpath)
        answer = other.order("startJob")
        assert answer.status_code == (200 if free else 409), answer.text
        if free:
            assert other.order("stopJob").status_code == 200
        else:
            assert answer.json()["error"]["code"] == "AZSM1027"
    first.order("stopJob")


def test_container_that_is_missing(here: World) -> None:
    agent = here.agent("one")
    job = here.job(container="not-there-at-all", agent="one")
    job.start()
    assert agent.protocol.take(2) is None
    run = job.await_status("Failed")
    assert run["error"]["code"] == "AZSM1022"
    assert here.assignments(agent) == []


def test_no_free_policy_makes_a_run_wait(here: World, azurite: Azurite) -> None:
    agent = here.agent("one")
    container = azurite.container()
    policies = {f"foreign-{n}": AccessPolicy("r", datetime(2099, 1, 1, tzinfo=UTC)) for n in range(5)}
    container.set_container_access_policy(policies, public_access="blob")
    job = here.job(container=container.container_name, agent="one")
    job.start()
    assert agent.protocol.take(1) is None
    run = job.run
    assert run["status"] == "Queued"
    assert run["warnings"][0]["code"] == "AZSM1035"
    assert here.assignments(agent) == []
    assert [row["statusCode"] for row in job.events(level="Warning")] == ["AZSM1035"]

    policies.pop("foreign-3")
    container.set_container_access_policy(policies, public_access="blob")
    grant = agent.take()
    secret = agent.ledger(grant).credential(grant.token).secret
    agent.commit(grant, 1, rows("a"))
    job.await_run(lambda run: run["wherry"]["accessState"] == "Ended")
    assert not sas_works(azurite, container.container_name, secret)
    left = container.get_container_access_policy()
    assert {one.id for one in left["signed_identifiers"]} == set(policies)
    assert left["public_access"] == "blob"


def test_a_role_that_is_removed_ends_the_credential(here: World, azurite: Azurite) -> None:
    agent = here.agent("one")
    job = here.job(container=azurite.container().container_name, agent="one")
    job.start()
    grant = agent.take()
    agent.ledger(grant).credential(grant.token)
    name = job.run["wherry"]["roleAssignments"][0]
    scope = here.assignments(agent)[0]["scope"]
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
    assert here.arm("DELETE", path, **{"api-version": "2022-04-01"}).status_code == 200

    with pytest.raises(RunError) as refused:
        agent.ledger(grant).credential(grant.token)
    assert refused.value.code == "AZSM1024"
    assert agent.protocol.take(1) is None
    assert job.await_status("Failed")["error"]["code"] == "AZSM1024"


class Thread:
    """An agent that waits for a lease meanwhile."""

    def __init__(self, agent: Agent) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(agent.take, 10.0)

    def result(self) -> Grant:
        self._pool.shutdown()
        return self._future.result()
