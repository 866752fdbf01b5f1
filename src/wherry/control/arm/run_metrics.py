"""Metrics of runs over time, as Azure Monitor tells them: `{mover}/providers/Microsoft.Insights/metrics`.

Made from what commits brought in each minute (table `run_minutes`).  A sample is what one run did in one minute; a
point tells of the samples in its interval.  With a `$filter` by `JobRunName` there is a series for each run, else one
for all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, resource, scope_of_path
from wherry.control.arm import generic
from wherry.control.arm.request import check_subscription, check_version, filter_of, path_of, query_of
from wherry.control.plane import plane
from wherry.control.services import metrics, resources
from wherry.control.services.metrics import MOST_SAMPLES, Sample
from wherry.control.services.types import registry
from wherry.control.services.types.storage_mover import MOVER
from wherry.model import ids
from wherry.model.errors import ApiError

PROVIDER = "Microsoft.Insights"

routes = Routes(case_insensitive=True)

_METRICS: Mapping[str, tuple[str, str]] = {
    "JobRunScanThroughputItems": ("CountPerSecond", "scanned_items"),
    "JobRunTransferThroughputBytes": ("BytesPerSecond", "transferred_bytes"),
    "JobRunTransferThroughputItems": ("CountPerSecond", "transferred_items"),
}
_INTERVALS = {"PT1M": 1, "PT5M": 5, "PT15M": 15, "PT30M": 30, "PT1H": 60, "P1D": 1440}
_AGGREGATIONS: Mapping[str, Callable[[list[float]], float]] = {
    "average": lambda found: sum(found) / len(found),
    "maximum": max,
    "minimum": min,
}
_FILTER = re.compile(r"jobrunname\s+eq\s+'([^']{1,80})'", re.IGNORECASE)
_TEXTS = ("metricnames", "timespan", "interval", "aggregation", "$filter")


@routes.get(
    f"{generic.item(MOVER)}/providers/{PROVIDER}/metrics",
    resource(f"{PROVIDER}/metrics/read"),
    openapi_extra={
        "parameters": [{"name": one, "in": "query", "schema": {"type": "string"}} for one in _TEXTS]
    },
)
async def run_metrics(request: Request) -> Response:
    """What the runs of a mover did over time."""
    check_version(request, PROVIDER)
    service = plane(request)
    mover = registry.target(scope_of_path(path_of(request)))
    check_subscription(request, mover.id.subscription)
    begin, end = _timespan(query_of(request, "timespan"), service.clock())
    interval = (query_of(request, "interval") or "PT1M").upper()
    if interval not in _INTERVALS:
        raise _invalid("interval", f"One of {', '.join(_INTERVALS)} is expected.")
    run = _run(filter_of(request))
    wanted = _words(request, "metricnames", {name.lower(): name for name in _METRICS})
    told = _words(request, "aggregation", {name: name for name in _AGGREGATIONS}, "average")
    await service.database.read(resources.require, mover)
    samples = await service.database.read(metrics.samples, ids.key(str(mover.id)), run, begin, end)
    if len(samples) > MOST_SAMPLES:
        raise _invalid("timespan", "It holds too many samples: ask for less time, or for one run.")
    body = {
        "cost": 0,
        "timespan": f"{_time(begin)}/{_time(end)}",
        "interval": interval,
        "namespace": MOVER.full,
        "resourceregion": "local",
        "value": [
            _metric(str(mover.id), name, _series(samples, name, _INTERVALS[interval], told, bool(run)))
            for name in wanted
        ],
    }
    return JSONResponse(body)


def _metric(mover: str, name: str, series: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"{mover}/providers/{PROVIDER}/metrics/{name}",
        "type": f"{PROVIDER}/metrics",
        "name": {"value": name, "localizedValue": name},
        "unit": _METRICS[name][0],
        "errorCode": "Success",
        "timeseries": series,
    }


def _series(
    samples: list[Sample], name: str, minutes: int, told: list[str], split: bool
) -> list[dict[str, Any]]:
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in samples:
        at = one.minute // minutes * minutes
        found[one.run if split else ""][at].append(getattr(one, _METRICS[name][1]) / 60)
    return [
        {
            "metadatavalues": [
                {"name": {"value": "jobrunname", "localizedValue": "jobrunname"}, "value": run}
            ]
            if split
            else [],
            "data": [
                {"timeStamp": _time(at)} | {how: _AGGREGATIONS[how](values) for how in told}
                for at, values in sorted(points.items())
            ],
        }
        for run, points in sorted(found.items())
    ]


def _words(request: Request, name: str, known: Mapping[str, str], default: str = "") -> list[str]:
    told = (query_of(request, name) or default).lower()
    words = [word.strip() for word in told.split(",")] if told else list(known)
    if not set(words) <= set(known):
        raise _invalid(name, f"Words out of {', '.join(known.values())} are expected.")
    return [known[word] for word in dict.fromkeys(words)]


def _run(told: str) -> str:
    found = _FILTER.fullmatch(told)
    if told and found is None:
        raise _invalid("$filter", "JobRunName eq 'NAME' is expected, or JobRunName eq '*' for all apart.")
    return found[1] if found else ""


def _timespan(told: str | None, now: float) -> tuple[int, int]:
    """The minutes from and before which samples are told; by default those of the last hour."""
    if told is None:
        return int(now // 60) - 60, int(now // 60) + 1
    try:
        begin, end = (datetime.fromisoformat(part.strip()) for part in told.split("/"))
        first, last = (
            int((one if one.tzinfo else one.replace(tzinfo=UTC)).timestamp() // 60) for one in (begin, end)
        )
    except (ValueError, OverflowError):
        raise _invalid("timespan", "Two times with / between are expected.") from None
    if not 0 <= first < last:
        raise _invalid("timespan", "It must end after it begins.")
    return first, last


def _time(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _invalid(parameter: str, message: str) -> ApiError:
    return ApiError(400, "BadRequest", f"{message} (query parameter '{parameter}')", parameter)
