"""The page of the documentation, and the section of one workload as it is printed after it was measured.

Only `whole` is written to the documentation, and only from results that are complete: every workload of the page, at
full scale, with enough rounds, on one machine and of the same sources.
"""

from __future__ import annotations

from typing import Any

from bench import machine, results
from bench.figures import Asked, Spread, number
from bench.results import Judged, Line
from bench.workloads import BY_NAME, Workload

FILE = machine.ROOT / "docs" / "reference" / "benchmarks.md"
_MARKS = {"aim reached": "✔✔", "reached": "✔", "missed": "✘", "below the aim": "·", "not measured": "-"}
_INTRODUCTION = (
    "Written by `make bench` from one full run; do not edit. How it is measured, and what the figures do and do not "
    "say: [how Wherry is measured](../explanation/measuring.md)."
)
_QUICK = "**A look whether it works, at a scale of {scale:g}: its figures say nothing about speed.**"
_CEILING = (
    "Puts of 4 KiB from memory, with no file, list or log, by two processes with four connections each: no mover can "
    "be faster here, and the sink's share of the two cores is in every figure below."
)


_HEADINGS = (
    "| program | seconds, median (min-max) | items/s | MB/s | CPU s | CPU µs an item | memory MiB | Wherry is "
    "| its CPU by Wherry's |"
)


class Incomplete(Exception):
    """The results do not make a page."""


def section(told: dict[str, Any]) -> str:
    """Everything about one workload, in Markdown."""
    workload = BY_NAME[told["workload"]]
    if workload.kind == "fidelity":
        return _fidelity(told)
    tree = told["tree"]
    reckoned = results.lines(told)
    shape = f"{tree['files']:,} files, {tree['folders']:,} folders, {_bytes(tree['size'])}"
    about = f"`{workload.name}`: {shape}.{_load(told)}"
    parts = [
        f"## {workload.title}",
        "",
        about,
        "",
        _HEADINGS,
        "|---|---|---|---|---|---|---|---|---|",
        *(_line(line) for line in reckoned),
        "",
        *_asked(told),
        *_notes(told, reckoned),
    ]
    return "\n".join(parts)


def _fidelity(told: dict[str, Any]) -> str:
    """What each program kept, instead of how fast it was."""
    rows = []
    for name, entrant in told["programs"].items():
        runs = [run for run in entrant["runs"] if run]
        if runs:
            lost = ", ".join(f"{kind} ({count})" for kind, count in sorted(entrant["lacking"].items()))
            rows.append(f"| {name} | {runs[-1]['kept']} of {runs[-1]['facets']} | {lost or 'nothing'} |")
        else:
            rows.append(f"| {name} | left out: {_cell(entrant['out'])} | |")
    return "\n".join(
        [
            f"## {BY_NAME[told['workload']].title[0].upper()}{BY_NAME[told['workload']].title[1:]}",
            "",
            f"{told['tree']['files']} files, links and others, {told['tree']['folders']} folders.",
            "",
            "| program | facets kept | lost |",
            "|---|---|---|",
            *rows,
            "",
            *(f"- `{entrant['command']}`" for entrant in told["programs"].values()),
        ]
    )


def _line(line: Line) -> str:
    if not line.wall.median:
        return f"| {line.name} | left out: {_cell(line.out)} | | | | | | | |"
    spent = number(line.processor_ratio) if line.processor_ratio else ""
    wherry = f"{_spread(line.ratio)} times as quick" if line.ratio else ""
    return (
        f"| {line.name} | {_spread(line.wall)} | {line.rate:,.0f} | {line.bytes_rate / 1e6:,.0f} "
        f"| {number(line.processor)} | {number(line.per_item)} | {line.memory:,.0f} | {wherry} | {spent} |"
    )


def _asked(told: dict[str, Any]) -> list[str]:
    judged = results.judged(told)
    if not judged:
        return []
    return [
        "| asked | must | aim | measured | |",
        "|---|---|---|---|---|",
        *(_judged(one) for one in judged),
        "",
    ]


def _judged(one: Judged) -> str:
    measured = "-" if one.figure is None else number(one.figure)
    if one.spread and one.figure is not None:
        measured = _spread(one.spread)
    return (
        f"| {one.asked.name} | {_bound(one.asked, one.asked.must)} | {_bound(one.asked, one.asked.aim)} "
        f"| {measured} | {_MARKS[one.verdict]} {one.verdict} |"
    )


def _bound(asked: Asked, value: float | None) -> str:
    if not value:
        return "-"
    return f"{'≤' if asked.at_most else '≥'} {value:,g}"


def _notes(told: dict[str, Any], reckoned: list[Line]) -> list[str]:
    notes = []
    for entrant in told["programs"].values():
        remarks = [entrant["note"]] if entrant["note"] else []
        if entrant["lacking"]:
            remarks.append("did not keep: " + ", ".join(entrant["lacking"]))
        notes.append(f"- `{entrant['command']}`" + "".join(f"; {remark}" for remark in remarks))
        if (taken := _taken(entrant)) is not None:
            notes.append(f"  - {taken}")
    if "growth" in told:
        first = told["first"]["memory"] / 2**20
        notes.append(f"- With a tenth of the items it was {first:,.0f} MiB.")
    return [*notes, ""]


def _load(told: dict[str, Any]) -> str:
    """How busy the machine was just before each run: with what had just run, and with whatever else there was."""
    loads = [
        run["load"]
        for entrant in told["programs"].values()
        for run in entrant["runs"]
        if run and "load" in run
    ]
    return f" Load of the machine before each run: {_spread(Spread.of(loads))}." if loads else ""


def _taken(entrant: dict[str, Any]) -> str | None:
    """What the sink saw of a program: calls for each object, connections, the sink's own processor time."""
    runs = [run for run in entrant["runs"] if run and "sink" in run]
    if not runs:
        return None
    report = runs[-1]["sink"]
    calls = ", ".join(
        f"{count:,} {call}" for call, count in sorted(report["calls"].items(), key=lambda one: -one[1])
    )
    served = sum(report["calls"].values())
    return (
        f"{calls}; {report['connections']} connections; {report['seconds']:.2f} s from the first call to the last; "
        f"the sink took {report['processor'] / served * 1e6:.0f} µs "
        "of processor time a call"
    )


def whole(
    found: dict[str, dict[str, Any]], workloads: list[Workload], rounds: int, scale: float = 1.0
) -> str:
    """The page. Raises `Incomplete`."""
    _check(found, workloads, rounds, scale)
    measured = [found[workload.name] for workload in workloads]
    parts = [
        "# Benchmarks",
        "",
        _INTRODUCTION,
        "",
        *([] if scale == 1.0 else [_QUICK.format(scale=scale), ""]),
        *_summary(measured),
        *_machine(measured),
        *_ceiling(found.get("ceiling")),
        *(section(told) + "\n" for told in measured),
        *_profiles(found, workloads),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def _check(found: dict[str, dict[str, Any]], workloads: list[Workload], rounds: int, scale: float) -> None:
    missing = [workload.name for workload in workloads if workload.name not in found]
    if missing:
        raise Incomplete(f"not measured: {', '.join(missing)}")
    places = set()
    for workload in workloads:
        told = found[workload.name]
        if told["scale"] != scale or (workload.kind != "simulated" and told["rounds"] < rounds):
            raise Incomplete(f"{workload.name}: scale {told['scale']:g}, {told['rounds']} rounds")
        places.add(
            tuple(sorted((name, value) for name, value in told["machine"].items() if name != "commit"))
        )
    if len(places) != 1:
        raise Incomplete("the results are of different machines or sources")


def _summary(measured: list[dict[str, Any]]) -> list[str]:
    rows = []
    for told in measured:
        for one in results.judged(told):
            figure = "-" if one.figure is None else number(one.figure)
            rows.append(
                f"| {BY_NAME[told['workload']].title} | {one.asked.name} | {_bound(one.asked, one.asked.must)} "
                f"| {_bound(one.asked, one.asked.aim)} | {figure} | {_MARKS[one.verdict]} |"
            )
    return [
        "| workload | asked of Wherry | must | aim | measured | |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "✔✔ the aim is reached, ✔ what must be is reached, ✘ it is not; · no bound but an aim, not reached.",
        "",
    ]


def _machine(measured: list[dict[str, Any]]) -> list[str]:
    told = measured[0]
    return [
        "## Machine and programs",
        "",
        *(f"- {name}: {value}" for name, value in told["machine"].items()),
        *(f"- {name} {version}" for name, version in told["versions"].items()),
        "",
    ]


def _ceiling(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return []
    return [
        "## What the sinks take",
        "",
        _CEILING,
        "",
        "| sink | puts/s | CPU µs a put, sink | CPU µs a put, client |",
        "|---|---|---|---|",
        *(
            f"| {one['name']} | {one['puts'] / one['seconds']:,.0f} | {one['server']:.1f} | {one['client']:.1f} |"
            for one in told["sinks"]
        ),
        "",
    ]


def _profiles(found: dict[str, dict[str, Any]], workloads: list[Workload]) -> list[str]:
    names = [f"profile-{workload.name}" for workload in workloads]
    profiles = [found[name] for name in names if name in found]
    if not profiles:
        return []
    parts = ["## Where the rest goes", ""]
    for told in profiles:
        scale = "" if told["scale"] == 1 else f", at a scale of {told['scale']:g}"
        parts += [f"### {BY_NAME[told['workload']].title}{scale}", "", *told["lines"], ""]
    return parts


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    if spread.low == spread.high:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.low)}-{number(spread.high)})"


def _bytes(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")[:200]
