"""`/metrics`: what it says of a run, of agents and of the process; who sees it; that nothing of a stranger is in it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.unit.control.callers import ARM, Cast
from tests.unit.control.casting import assembled
from tests.unit.control.conftest import START, URL, Made, app_of
from wherry.control import housekeeping
from wherry.control.db.tables_metrics import run_minutes
from wherry.control.pulse import Pulse
from wherry.control.services import metrics
from wherry.model.outcomes import Counters, Outcome
from wherry.trust.roles import METRICS_READER

SAMPLE = re.compile(r'(wherry_\w+)(?:\{((?:\w+="[^"\n]*",?)+)\})? ([0-9.]+)')


class Heard(Pulse):
    """One that says when a duty was done."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    def done(self, duty: str, now: float) -> None:
        super().done(duty, now)
        self.heard.set()


@pytest.fixture
def cast(made: Made, tmp_path: Path) -> Iterator[Cast]:
    with assembled(made, tmp_path) as cast:
        yield cast


@pytest.fixture
async def browser(cast: Cast) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app_of(cast.plane), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


async def scrape(cast: Cast, client: httpx.AsyncClient) -> dict[str, float]:
    headers = {"authorization": f"Bearer {cast.callers['owner'].tokens[ARM]}"}
    answer = await client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for line in answer.text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP wherry_\w+ \S.*|TYPE wherry_\w+ (gauge|counter))", line)
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        name = f"{sample[1]}{{{sample[2]}}}" if sample[2] else sample[1]
        assert name not in found
        found[name] = float(sample[3])
    return found


async def test_work_and_access_as_they_stand(cast: Cast, browser: httpx.AsyncClient) -> None:
    counted = Counters()
    counted.scanned(70, 3)
    counted.count(Outcome.TRANSFERRED, 2, 60)
    counted.count(Outcome.FAILED, 1, 10)
    with cast.plane.database.transaction() as conn:
        for second in (0, 1, 60):
            metrics.count(conn, cast.names["run"], counted, START + second)
        metrics.count(conn, cast.names["run"], Counters(), START)
    found = await scrape(cast, browser)
    assert found['wherry_run_items_total{outcome="Transferred"}'] == 6
    assert found['wherry_run_bytes_total{outcome="Scanned"}'] == 210
    assert found['wherry_run_items_total{outcome="Deleted"}'] == 0
    assert found['wherry_runs{state="Started"}'] + found['wherry_runs{state="Running"}'] == 1
    assert found['wherry_leases{state="live"}'] == 1
    assert found['wherry_grants{state="live"}'] == 1
    assert found['wherry_agents{state="Executing"}'] == 1
    assert found['wherry_agents{state="Locked"}'] == 1
    assert found["wherry_audit_head"] > 0


async def test_what_has_run_out_is_overdue(cast: Cast, browser: httpx.AsyncClient) -> None:
    with cast.plane.database.snapshot() as conn:
        found = metrics.standing(conn, START + 10**6)
    assert found.leases == {"live": 0, "overdue": 1}
    assert found.grants == {"live": 0, "overdue": 1}
    assert found.agents["Executing"] == found.agents["Online"] == 0


async def test_requests_are_counted_by_class_and_a_stranger_adds_no_series(
    cast: Cast, browser: httpx.AsyncClient
) -> None:
    for number in range(5):
        await browser.get(f"/nowhere/{number}", headers={"user-agent": f"evil{number}"})
        assert (await browser.get(f"/subscriptions/{number}")).status_code == 401
        await browser.get("/a%2fb")
    assert (await browser.get("/metrics")).status_code == 401
    found = await scrape(cast, browser)
    assert found['wherry_http_requests_total{class="none",status="404"}'] == 5
    assert found['wherry_http_requests_total{class="none",status="400"}'] == 5
    assert found['wherry_http_requests_total{class="arm",status="401"}'] == 5
    assert found['wherry_http_requests_total{class="service",status="401"}'] == 1
    assert len([name for name in found if name.startswith("wherry_http")]) == 4


async def test_an_error_that_nobody_expected_is_counted(
    cast: Cast, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(cast.plane.database, "engine")
        assert (await browser.get("/healthz")).status_code == 500
    found = await scrape(cast, browser)
    assert found['wherry_http_requests_total{class="service",status="500"}'] == 1


async def test_a_duty_that_is_not_done_is_late(cast: Cast, browser: httpx.AsyncClient) -> None:
    late = 'wherry_duty_late_seconds{duty="housekeeping"}'
    cast.plane.pulse = pulse = Heard()
    async with asyncio.timeout(60), housekeeping.running(cast.plane):
        await pulse.heard.wait()
    found = await scrape(cast, browser)
    assert found['wherry_duty_rounds_total{duty="housekeeping"}'] == 1
    assert found[late] == 0
    cast.plane.pulse.duties["housekeeping"].done_at -= housekeeping.EVERY + 30
    assert (await scrape(cast, browser))[late] == 30


def test_the_role_of_a_collector_can_do_nothing_else() -> None:
    assert METRICS_READER.actions == ("Microsoft.Insights/metrics/read",)
    assert not METRICS_READER.data_actions


def test_minutes_that_are_too_old_are_forgotten(cast: Cast) -> None:
    counted = Counters()
    counted.scanned(1)
    with cast.plane.database.transaction() as conn:
        for now in (START, START + 60):
            metrics.count(conn, cast.names["run"], counted, now)
        metrics.forget_minutes(conn, START + 60 + metrics.KEPT_MINUTES * 60)
        assert [row.minute for row in conn.execute(run_minutes.select())] == [START // 60 + 1]
