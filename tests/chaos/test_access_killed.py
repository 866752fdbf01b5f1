"""The control plane killed with no warning at each step of giving and of taking back access, against a real server.

One process is prepared and forks for each deed: the child takes a lease as dispatch does it, or ends a run, and kills
itself (SIGKILL) before or after a function of the product.  What is then on disk is served anew, by a round of the
reaper: within a minute there is no assignment and no policy, and the server refuses the credential that worked.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContainerClient, generate_container_sas
from sqlalchemy import select

from tests.access import FOREIGN, add_foreign, policies
from tests.azurite import Azurite
from tests.unit.control.stage import ACCOUNT, Stage
from wherry.control import audit, deployment
from wherry.control.db.engine import Database
from wherry.control.db.tables_ledger import grant_uses, grants
from wherry.control.services import role_assignments, run_state, vault
from wherry.trust.keys import MasterKey

KILLED = -9
DEEDS = """
import asyncio, json, os, signal, sys, time
from importlib import import_module
from pathlib import Path
from wherry.control import dispatch, reaper
from wherry.control.caller import Caller
from wherry.control.db.engine import Database
from wherry.control.plane import Plane
from wherry.control.services import runs
from wherry.control.services.ledger import Holder
from wherry.control.settings import Settings
from wherry.trust.keys import MasterKey
from wherry.trust.principals import FULL_SCOPE, Principal


def die_at(place):
    module, _, rest = place.partition(":")
    name, _, when = rest.partition(":")
    owner, real = import_module(module), None
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    real = getattr(owner, last)

    def dying(*args, **kwargs):
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, last, dying)


async def do(told):
    state = Path(told["state"])
    database = Database(f"sqlite:///{state}/wherry.db")
    master = MasterKey.from_text((state / "master.key").read_text())
    document = json.loads((state / "deployment.json").read_text())
    settings = Settings(policy_retry_seconds=0.01)
    plane = Plane(database, master, document["tenant"], document["subscription"], "https://plane.example", "",
                  clock=lambda: time.time() + told["later"], settings=settings, state=state)
    began = plane.clock()
    if told["deed"] == "reap":
        # As at a start: what `dispatch.running` runs, once.
        real, rounds = reaper.reap, asyncio.Event()

        async def reap_once(*args):
            await real(*args)
            rounds.set()

        reaper.reap = reap_once
        async with dispatch.running(plane):
            await asyncio.wait_for(rounds.wait(), 60)
        return
    reaper.run = idle
    async with dispatch.running(plane):
        door = plane.part(dispatch.Dispatch)
        if told["deed"] == "take":
            async def here():
                return False
            assert await door.take(Holder(**told["holder"]), 0, here) is not None
        else:
            principal = Principal("user", told["author"], document["tenant"], "admin", frozenset({FULL_SCOPE}))
            await database.write(runs.stop, Caller(principal, "r", plane.clock()), told["job"])
            await door.broker.withdraw()


async def idle(*_):
    await asyncio.Event().wait()


for line in sys.stdin:
    told = json.loads(line)
    child = os.fork()
    if not child:
        if told["die"]:
            die_at(told["die"])
        asyncio.run(do(told))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class World:
    """A state directory with a job into a container of its own, and somebody who does deeds on it."""

    state: Path
    azurite: Azurite
    container: ContainerClient
    forks: subprocess.Popen[str]
    told: dict[str, Any] = field(default_factory=dict)
    run: str = ""

    def __post_init__(self) -> None:
        add_foreign(self.container)
        with closing(self._database()) as database, database.transaction() as conn:
            stage = Stage(conn, time.time())
            holder = stage.agent("a")
            service = {"blobEndpoint": self.azurite.url, "accountName": self.azurite.account}
            stage.put(ACCOUNT, {"wherry": {**service, "accountKey": self.azurite.key}}, location="x")
            master = MasterKey.from_text((self.state / "master.key").read_text())
            vault.put_secret(conn, master, ACCOUNT, self.azurite.key, "test", stage.now)
            job = stage.job(container=self.container.container_name, agentName="a")
            self.run = stage.start(job)
            self.told = {
                "state": str(self.state), "job": job, "author": str(stage.admin),
                "holder": {"oid": holder.oid, "key": holder.key, "name": holder.name},
            }  # fmt: skip

    def _database(self) -> Database:
        return Database(f"sqlite:///{self.state / 'wherry.db'}")

    def do(self, deed: str, die: str = "", *, later: float = 0.0) -> int:
        """Do it in a process of its own; how that ended."""
        assert self.forks.stdin is not None
        assert self.forks.stdout is not None
        print(
            json.dumps({**self.told, "deed": deed, "die": die, "later": later}),
            file=self.forks.stdin,
            flush=True,
        )
        return int(self.forks.stdout.readline())

    def policy(self) -> str | None:
        """The policy of ours that stands on the container."""
        found = policies(self.container) - {FOREIGN}
        assert len(found) <= 1
        return next(iter(found), None)

    def works(self, policy: str) -> bool:
        """Whether the server lets in who holds the SAS of a policy."""
        sas = generate_container_sas(
            str(self.container.account_name), self.container.container_name, account_key=self.azurite.key,
            policy_id=policy,
        )  # fmt: skip
        with ContainerClient(
            self.azurite.url, self.container.container_name, credential=sas, retry_total=0
        ) as client:
            try:
                next(iter(client.list_blob_names(results_per_page=1)), None)
            except HttpResponseError as refused:
                if refused.status_code != 403:
                    raise
                return False
        return True

    def assert_nothing_left(self, policy: str | None) -> None:
        """No assignment, no grant, no policy of ours, the credential is refused; what others made stays."""
        assert policies(self.container) == {FOREIGN}
        assert policy is None or not self.works(policy)
        with closing(self._database()) as database, database.snapshot() as conn:
            assert role_assignments.of_principal(conn, self.told["holder"]["oid"]) == []
            assert not conn.execute(select(grants)).all()
            assert not conn.execute(select(grant_uses)).all()
            assert audit.verify(conn) is None

    def ended(self) -> bool:
        with closing(self._database()) as database, database.transaction() as conn:
            found = run_state.load(conn, self.run)
            return found is not None and found.ended


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported the control plane and forks for each deed."""
    process = subprocess.Popen(
        [sys.executable, "-c", DEEDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("killed") / "state"
    deployment.create_or_open(state).close()
    return state


@pytest.fixture
def world(made: Path, tmp_path: Path, azurite: Azurite, forks: subprocess.Popen[str]) -> World:
    return World(Path(shutil.copytree(made, tmp_path / "state")), azurite, azurite.container(), forks)


BROKER = "wherry.control.broker"
GIVING = {
    "the grant is made": f"{BROKER}.credentials:Broker.open:before",
    "the policy is written down": f"{BROKER}.blob:put:before",
    "the policy stands": f"{BROKER}.blob:put:after",
    "the policy works": "wherry.control.services.credentials:stands:before",
    "all but the lease": "wherry.control.services.ledger:lease:before",
}
SELDOM = {"the policy is written down", "the policy works", "it is not written down"}
TAKING = {
    "the run has ended": f"{BROKER}.blob:drop:before",
    "the policy is gone": f"{BROKER}.blob:drop:after",
    "it is not written down": "wherry.control.services.credentials:withdrawn:before",
}


def _often(moment: str) -> Any:
    """All moments in `make chaos`, the ones that differ most each time."""
    return pytest.param(moment, marks=pytest.mark.long) if moment in SELDOM else moment


@pytest.mark.parametrize("moment", [_often(one) for one in GIVING])
def test_attack_53_a_service_killed_while_it_gives_access_takes_it_back_when_it_is_served_again(
    world: World, moment: str
) -> None:
    assert world.do("take", GIVING[moment]) == KILLED
    stood = world.policy()
    assert (stood is not None) == (moment in list(GIVING)[2:])
    assert stood is None or world.works(stood)
    # A round at once leaves to an agent that asks again what it was given; nobody does.
    assert world.do("reap") == 0
    assert world.do("reap", later=16.0) == 0
    world.assert_nothing_left(stood)
    assert not world.ended()
    # The run is not lost: whoever takes it up is let in anew.
    assert world.do("take") == 0
    again = world.policy()
    assert again is not None
    assert again != stood
    assert world.works(again)


@pytest.mark.parametrize("moment", [_often(one) for one in TAKING])
def test_attack_53_a_service_killed_while_it_takes_access_back_goes_on_with_it(
    world: World, moment: str
) -> None:
    assert world.do("take") == 0
    stood = world.policy()
    assert stood is not None
    assert world.works(stood)
    # The agent that held the lease is gone, so that the stop ends the run.
    assert world.do("end", TAKING[moment], later=61.0) == KILLED
    assert world.ended()
    assert world.do("reap", later=62.0) == 0
    world.assert_nothing_left(stood)


def test_attack_53_a_database_that_was_restored_takes_off_what_it_has_forgotten(world: World) -> None:
    before = (world.state / "wherry.db").read_bytes()
    assert world.do("take") == 0
    stood = world.policy()
    assert stood is not None
    (world.state / "wherry.db").write_bytes(before)
    for leftover in ("wherry.db-wal", "wherry.db-shm"):
        (world.state / leftover).unlink(missing_ok=True)
    assert world.do("reap") == 0
    world.assert_nothing_left(stood)


def test_attack_53_a_database_restored_from_mid_run_keeps_nothing_that_nobody_works_with(
    world: World,
) -> None:
    assert world.do("take") == 0
    stood = world.policy()
    assert stood is not None
    before = (world.state / "wherry.db").read_bytes()
    assert world.do("end", later=61.0) == 0
    world.assert_nothing_left(stood)
    (world.state / "wherry.db").write_bytes(before)
    for leftover in ("wherry.db-wal", "wherry.db-shm"):
        (world.state / leftover).unlink(missing_ok=True)
    assert world.do("reap", later=62.0) == 0
    world.assert_nothing_left(stood)
    assert not world.ended()
