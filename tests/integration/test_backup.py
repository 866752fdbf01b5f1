"""A backup of a control plane at work, restored elsewhere: nothing old is accepted, and the work goes on."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import processes
from tests.azurite import Azurite
from tests.integration.migration import VERSION, rows, sas_works
from tests.integration.served import Served, serving
from tests.integration.test_run_recovery import quick_world
from tests.site import Site, assert_same, site
from wherry.client.device_code import DeviceCode
from wherry.control import backup, breakglass
from wherry.control.restore import Wanted, restore
from wherry.model.errors import LeaseLost
from wherry.model.ledger import Span


def wherry(*arguments: str | Path) -> Any:
    """Run a command on the control plane's machine; what it answers."""
    done = subprocess.run(
        [sys.executable, "-m", "wherry.cli.main", *map(str, arguments)], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=100, check=False, env={**os.environ, "WHERRY_OUTPUT": "json"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def backed_up(state: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    """A backup that is taken now, and a copy of the key that belongs to it."""
    file, key = folder / "plane.backup", folder / "kept.key"
    shutil.copy2(state / "master.key", key)
    made = wherry("backup", "--state", state, "--into", file)
    assert made["missing"] == []
    yield file, key
    file.unlink()


def test_nothing_of_before_is_accepted_after_a_restore(tmp_path: Path, azurite: Azurite) -> None:
    with quick_world(tmp_path, azurite, WHERRY_SETTING_LEASE_SECONDS="30") as here:
        agent = here.agent("one")
        container = azurite.container().container_name
        job = here.job(container=container, agent="one")
        job.start()
        grant = agent.take()
        old_secret = agent.ledger(grant).credential(grant.token).secret
        agent.ledger(grant).commit(grant.token, agent.progress(grant, 1, rows("a"), Span(cursor=b"a")))
        old_token, port = here.served.token(), here.served.url.rpartition(":")[2]
        with backed_up(here.served.state, tmp_path) as (file, key):
            here.served.process.kill()
            here.served.process.wait()
            done = wherry("restore", "--from", file, "--state", tmp_path / "elsewhere", "--master-key", key)
            assert done["runs"] == 1
        with serving(tmp_path / "elsewhere", f"127.0.0.1:{port}") as again:
            before, here.served = here.served, again
            assert status(again, here.mover_id, old_token) == 401
            assert status(again, here.mover_id, again.token()) == 200
            with pytest.raises(LeaseLost):
                agent.ledger(grant, 30).commit(grant.token, agent.progress(grant, 2, rows("b")))
            fresh = agent.take(30.0)
            assert fresh.token.incarnation != grant.token.incarnation
            agent.commit(fresh, 1, rows("b"))
            run = job.await_status("Succeeded")
            assert run["itemsTransferred"] == 2
            assert sorted(row["itemPath"] for row in job.copy_log()) == ["a", "b"]
            job.await_run(lambda run: run["wherry"]["accessState"] == "Ended")
            assert here.assignments(agent) == []
            assert not sas_works(azurite, container, old_secret)
            here.served = before


def status(served: Served, path: str, token: str) -> int:
    """What a token is answered with."""
    context = ssl.create_default_context(cafile=served.ca_file)
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(
        f"{served.url}{path}", params={"api-version": VERSION}, headers=headers, verify=context
    ).status_code


def test_a_run_that_was_going_on_ends_after_a_restore_and_the_next_transfers_nothing(
    tmp_path: Path, azurite: Azurite
) -> None:
    source, target = tmp_path / "root" / "source", azurite.container()
    source.mkdir(parents=True)
    for number in range(40):
        (source / f"{number}.bin").write_bytes(os.urandom(20_000))
    with site(tmp_path, azurite) as here, here.running(tmp_path / "root") as agent:
        # For two seconds, if nobody held it up.
        job = here.job(source, target, agent, wherry={"bandwidth": 400_000})
        job.start()
        here.until(lambda: job.run.get("itemsTransferred"), 60)
        agent.freeze()
        assert job.run["status"] == "Running"
        state, file = here.served.state, tmp_path / "plane.backup"
        backup.take(state, file, time.time())
        here.kill_control()
        restore(Wanted(file, tmp_path / "elsewhere", str(state / "master.key")), time.time())
        with restored(here, tmp_path / "elsewhere"):
            agent.thaw()
            assert job.end()["status"] == "Succeeded"
            assert_same(source, target)
            job.start()
            run = job.end()
            assert (run["status"], run["itemsTransferred"]) == ("Succeeded", 0)
            assert run["itemsNoTransferNeeded"] == run["itemsScanned"] > 0
            assert here.assignments(agent) == []


@contextmanager
def restored(here: Site, state: Path) -> Iterator[None]:
    """Serve a restored state at the address of the one that is gone, for an administrator who signs in anew."""
    port = here.served.url.rpartition(":")[2]
    with serving(state, f"127.0.0.1:{port}") as again:
        processes.kept.add(again.process.pid)
        before = here.served
        here.served = here.admin.served = again

        def approve(code: DeviceCode) -> None:
            breakglass.approve(state, code.user_code)

        here.admin.sign_in.sign_in(approve)
        try:
            yield
        finally:
            here.served = here.admin.served = before
