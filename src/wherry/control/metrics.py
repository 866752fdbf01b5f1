"""`/metrics`: how the service stands, in the text form of Prometheus.

Whoever asks needs `Microsoft.Insights/metrics/read` on everything: roles Metrics Reader, Reader, Owner.  Prometheus
gets its tokens itself, as a service principal (`oauth2` in its configuration).  No label holds a name, an id or
anything that a stranger chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from starlette.requests import Request
from starlette.responses import Response

from wherry import __version__
from wherry.control.access import Routes, resource
from wherry.control.plane import Plane, plane
from wherry.control.services import metrics
from wherry.control.services.metrics import Standing

ACTION = "Microsoft.Insights/metrics/read"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

routes = Routes()

Samples = Mapping[tuple[tuple[str, str], ...], float]


@routes.get("/metrics", resource(ACTION, lambda _: ""))
async def prometheus(request: Request) -> Response:
    """Metrics of the service in the text form of Prometheus."""
    service = plane(request)
    found = await service.database.read(metrics.standing, service.clock())
    lines = [line for family in (*_of_work(found), *_of_process(service)) for line in family]
    return Response("\n".join(lines) + "\n", media_type=MEDIA_TYPE)


def _of_work(found: Standing) -> Iterator[list[str]]:
    yield _family("runs", "gauge", "Job runs that there are, by state.", _by("state", found.runs))
    for unit, counts in (("items", found.items), ("bytes", found.bytes)):
        help_ = f"Committed {unit} of all runs ever, by outcome; Scanned is the sum of what was seen."
        yield _family(f"run_{unit}_total", "counter", help_, _by("outcome", counts))
    yield _family("agents", "gauge", "Registered agents, by state.", _by("state", found.agents))
    yield _family(
        "agent_requests_waiting", "gauge", "Agents' requests that wait for work.", _one(found.waiting)
    )
    yield _family("leases", "gauge", "Leases that are out.", _by("state", found.leases))
    yield _family("grants", "gauge", "Role assignments made for runs.", _by("state", found.grants))
    held = _by("state", found.credentials)
    yield _family("credentials", "gauge", "Credentials at back ends that are not withdrawn.", held)
    yield _family(
        "audit_head", "gauge", "Number of the last record of the audit trail.", _one(found.audit_head)
    )
    signed = _one(found.audit_signed)
    yield _family("audit_signed", "gauge", "Number of the last record that is signed for.", signed)


def _of_process(service: Plane) -> Iterator[list[str]]:
    now, pulse = service.clock(), service.pulse
    yield _family("info", "gauge", "The program.", {(("version", __version__),): 1})
    answered: Samples = {
        (("class", area), ("status", str(status))): float(number)
        for (area, status), number in sorted(pulse.requests().items())
    }
    yield _family("http_requests_total", "counter", "Answers of this process, by class of route.", answered)
    duties = sorted(pulse.duties.items())
    late: Samples = {(("duty", name),): duty.late(now) for name, duty in duties}
    yield _family("duty_late_seconds", "gauge", "By how much a duty of this process is overdue.", late)
    rounds: Samples = {(("duty", name),): float(duty.rounds) for name, duty in duties}
    yield _family("duty_rounds_total", "counter", "Rounds of a duty of this process that went well.", rounds)


def _one(value: float) -> Samples:
    return {(): value}


def _by(label: str, counts: Mapping[str, int]) -> Samples:
    return {((label, name),): number for name, number in counts.items()}


def _family(name: str, kind: str, help_: str, samples: Samples) -> list[str]:
    full = f"wherry_{name}"
    lines = [f"# HELP {full} {help_}", f"# TYPE {full} {kind}"]
    for labels, value in samples.items():
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
        lines.append(f"{full}{{{told}}} {_number(value)}" if told else f"{full} {_number(value)}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"
