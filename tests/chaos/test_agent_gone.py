"""An agent that is gone for good: the run ends with a code in the stated time, and another agent takes the job."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.access import Access
from tests.azurite import Azurite
from tests.chaos.conftest import Tree, slowed
from tests.site import Site, assert_same, site

# More than a lease, and than a busy machine may keep a healthy agent from being heard.
LOST = 8.0
LEASE = 4.0
# The time that is stated runs from the last sign of progress; then the reaper has to come round and to withdraw.
SLACK = 12.0


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("plane"), azurite, AGENT_LOST_SECONDS=str(LOST)) as made, slowed(made):
        yield made


def test_the_run_fails_in_time_and_another_agent_finishes(here: Site, small: Tree, azurite: Azurite) -> None:
    container = azurite.container()
    with here.running(small.path, workers=1) as agent, here.running(small.path) as other:
        job = here.job(small.path, container, agent)
        with here.middle():
            job.start()
            job.await_run(lambda run: run["status"] == "Running")
            access = Access.of(job, container)
            agent.kill()
        since = time.monotonic()

        ended = job.end()

        assert (ended["status"], ended["error"]["code"]) == ("Failed", "AZSM1041"), ended
        assert time.monotonic() - since < max(LOST, LEASE) + SLACK
        access.assert_ended()
        assert here.assignments(agent) == []
        done = ended["itemsTransferred"]

        here.admin.api.patch(job.path, {"properties": {"agentName": other.name}})
        job.start()
        ended = job.end()
        assert ended["status"] == "Succeeded"
        assert ended["agentName"] == other.name
        assert ended["itemsNoTransferNeeded"] >= done
    assert ended["itemsTransferred"] + ended["itemsNoTransferNeeded"] == small.items
    assert_same(small.path, container)
