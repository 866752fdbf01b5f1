"""What runs did over time, in the shape of Azure Monitor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import httpx
import pytest

from tests.unit.control.callers import ARM
from tests.unit.control.casting import assembled
from tests.unit.control.conftest import START, URL, Made, app_of
from tests.unit.control.stage import MOVER, SUBSCRIPTION
from wherry.control.services import metrics
from wherry.model.outcomes import Counters, Outcome

Ask = Callable[..., Coroutine[Any, Any, httpx.Response]]


@pytest.fixture(scope="module")
def told(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    with assembled(made, tmp_path_factory.mktemp("metrics")) as cast:
        cast.plane.subscription = SUBSCRIPTION
        counted = Counters()
        counted.scanned(6000, 120)
        counted.count(Outcome.TRANSFERRED, 60, 6000)
        with cast.plane.database.transaction() as conn:
            name = conn.exec_driver_sql("SELECT name FROM runs").scalar_one()
            for second in (-7200, 0, 1, 60):
                metrics.count(conn, cast.names["run"], counted, START + second)
        yield cast, str(name)


@pytest.fixture
async def ask(told: tuple[Any, str]) -> AsyncIterator[Ask]:
    cast, _ = told
    transport = httpx.ASGITransport(app_of(cast.plane))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:

        async def ask(kind: str = "owner", **query: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {cast.callers[kind].tokens[ARM]}"}
            path = f"{MOVER}/providers/microsoft.insights/metrics"
            return await client.get(path, params={"api-version": "2018-01-01"} | query, headers=headers)

        yield ask


def span(begin: int, end: int) -> str:
    return f"{metrics_time(begin)}/{metrics_time(end)}"


def metrics_time(second: int) -> str:
    minute = 8 * 60 + second // 60  # START is eight in the morning.
    return f"2027-01-15T{minute // 60:02}:{minute % 60:02}:00Z"


async def test_a_minute_is_what_its_commits_brought(ask: Ask, told: tuple[Any, str]) -> None:
    body = (await ask(timespan=span(-60, 120), aggregation="Average,Maximum")).json()
    assert (body["interval"], body["namespace"]) == ("PT1M", "Microsoft.StorageMover/storageMovers")
    found = {one["name"]["value"]: one for one in body["value"]}
    assert {name: one["unit"] for name, one in found.items()} == {
        "JobRunScanThroughputItems": "CountPerSecond",
        "JobRunTransferThroughputBytes": "BytesPerSecond",
        "JobRunTransferThroughputItems": "CountPerSecond",
    }
    (series,) = found["JobRunTransferThroughputBytes"]["timeseries"]
    assert series["data"] == [
        {"timeStamp": metrics_time(0), "average": 200.0, "maximum": 200.0},
        {"timeStamp": metrics_time(60), "average": 100.0, "maximum": 100.0},
    ]
    (scanned,) = found["JobRunScanThroughputItems"]["timeseries"]
    assert [point["average"] for point in scanned["data"]] == [4.0, 2.0]


async def test_intervals_series_of_runs_and_the_last_hour(ask: Ask, told: tuple[Any, str]) -> None:
    hour = (
        await ask(interval="PT1H", metricnames="jobruntransferthroughputitems", aggregation="minimum")
    ).json()
    (metric,) = hour["value"]
    assert [point["minimum"] for point in metric["timeseries"][0]["data"]] == [2.0]
    for wanted in (told[1], "*"):
        body = (await ask(timespan=span(-7200, 120), **{"$filter": f"JobRunName eq '{wanted}'"})).json()
        (series,) = body["value"][0]["timeseries"]
        assert series["metadatavalues"][0]["value"] == told[1]
        assert len(series["data"]) == 3
    assert (await ask(**{"$filter": "JobRunName eq 'other'"})).json()["value"][0]["timeseries"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metricnames", "JobRunStateTransition"), ("interval", "PT2M"), ("aggregation", "total"),
        ("timespan", "yesterday"), ("timespan", "2027-01-02T00:00Z/2027-01-01T00:00Z"),
        ("timespan", "0001-01-01/9999-01-01"),
        ("$filter", "x eq 'y'"),
    ],
)  # fmt: skip
async def test_what_is_asked_wrongly_is_named(ask: Ask, name: str, value: str) -> None:
    refused = await ask(**{name: value})
    assert (refused.status_code, refused.json()["error"]["target"]) == (400, name)


async def test_only_who_may_read_them_sees_them(ask: Ask) -> None:
    assert (await ask("reader")).status_code == 200
    assert (await ask("secrets")).status_code == 403
