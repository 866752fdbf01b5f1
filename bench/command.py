"""The command line: `python -m bench [run|plan|list|ceiling|profile|page]`; `run` is meant when none is said."""

from __future__ import annotations

import argparse
import compileall
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from bench import machine, page, peers, profile, results, simulated
from bench.comparison import WrongCopy
from bench.harness import Course, NoRoom, compete
from bench.sinks import certificate, raw
from bench.workloads import ALL, BY_NAME, Workload

FULL_ROUNDS = 5
CEILING_PUTS = 100_000
PROFILE_SCALE = 0.2
QUICK_SCALE, QUICK_ROUNDS = 0.01, 1
# About how long the ceiling takes, and the profile of one workload.
_CEILING_MINUTES, _PROFILE_MINUTES = 0.5, 0.35


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0].startswith("-"):
        given = ["run", *given]
    options = _parser().parse_args(given)
    code: int = options.action(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Wherry against its peers.")
    actions = parser.add_subparsers(required=True)

    run = actions.add_parser("run", help="measure; a full run writes the page of the documentation")
    run.add_argument("--workload", choices=BY_NAME, action="append", help="default: all those of the page")
    run.add_argument("--rounds", type=int, default=FULL_ROUNDS, help="counted rounds, after one that is not")
    run.add_argument("--scale", type=float, default=1.0, help="0.1: a tenth of the files, or of their size")
    run.add_argument("--program", action="append", default=[], help="only these programs")
    run.add_argument("--scratch", type=Path, default=machine.scratch(), help="where trees are made")
    run.add_argument(
        "--into", default="", help="name of the folder of results; one that is there is gone on with"
    )
    run.add_argument("--no-install", action="store_true", help="measure only against peers that are here")
    run.add_argument(
        "--quick", action="store_true",
        help="all of it, tiny, in one round: to see that it works; its page lies with the results",
    )  # fmt: skip
    run.set_defaults(action=_run)

    planned = actions.add_parser("plan", help="what a full run does, and about how long it takes")
    planned.add_argument("--rounds", type=int, default=FULL_ROUNDS)
    planned.set_defaults(action=_plan)

    listing = actions.add_parser("list", help="show workloads and peers")
    listing.set_defaults(action=_list)

    ceiling = actions.add_parser("ceiling", help="how much the sinks take")
    ceiling.add_argument("--puts", type=int, default=CEILING_PUTS)
    ceiling.set_defaults(action=lambda options: _ceiling(options.puts, None))

    where = actions.add_parser("profile", help="where the time of one worker of Wherry goes")
    where.add_argument("workload", choices=BY_NAME)
    where.add_argument("--scale", type=float, default=1.0)
    where.add_argument("--scratch", type=Path, default=machine.scratch())
    where.add_argument("--into", default="", help="name of the folder of results to add it to")
    where.set_defaults(action=_profile)

    write = actions.add_parser("page", help="write the page from the results of a full run")
    write.add_argument("run", help="name of the folder of results")
    write.set_defaults(action=lambda options: _page(options.run))
    return parser


def _run(options: argparse.Namespace) -> int:
    if not options.no_install and not options.quick:
        for line in peers.install():
            print(line)
    if options.quick:
        options.scale, options.rounds = QUICK_SCALE, QUICK_ROUNDS
    # Whatever keeps Python from writing bytecode would else have it compile what was changed at each start.
    compileall.compile_dir(machine.ROOT / "src", quiet=1)
    chosen = [BY_NAME[name] for name in options.workload] if options.workload else _of_the_page()
    folder = results.FOLDER / (options.into or time.strftime("%Y%m%d-%H%M%S"))
    whole = not options.workload and (options.scale == 1.0 or options.quick) and not options.program
    if whole and not (folder / "ceiling.json").exists():
        _ceiling(int(CEILING_PUTS * options.scale), folder)
    failed = 0
    for workload in chosen:
        if options.into and (folder / f"{workload.name}.json").exists():
            print(f"{workload.name}: measured already")
            continue
        failed += not _one(workload, options, folder)
    print(f"\nresults: {folder}")
    if whole and not failed and (options.rounds >= FULL_ROUNDS or options.quick):
        _profiles(chosen, options, folder)
        return _page(folder.name, quick=options.quick)
    return 1 if failed else 0


def _profiles(chosen: list[Workload], options: argparse.Namespace, folder: Path) -> None:
    scale = options.scale if options.quick else PROFILE_SCALE
    for workload in chosen:
        if profile.is_possible(workload) and not (folder / f"profile-{workload.name}.json").exists():
            profile.show(workload, scale, options.scratch, folder)


def _of_the_page() -> list[Workload]:
    return [workload for workload in ALL if workload.on_page]


def _one(workload: Workload, options: argparse.Namespace, folder: Path) -> bool:
    """Measure one workload; False when Wherry could not do it, or the machine could not hold it."""
    print(
        f"\n{workload.name}: {workload.title}, scale {options.scale:g}, {options.rounds} rounds", flush=True
    )
    scratch = Path(tempfile.mkdtemp(prefix="wherry-bench-", dir=options.scratch))
    try:
        if workload.kind == "simulated":
            file = simulated.measure(workload, options.scale, scratch, folder, _say)
        else:
            course = Course(workload, options.scale, scratch)
            entrants = compete(course, options.rounds, frozenset(options.program), _say)
            file = results.save(folder, course, options.scale, options.rounds, entrants)
    except (NoRoom, WrongCopy, OSError) as why:
        print(f"{workload.name}: {why}", file=sys.stderr)
        return False
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    told = results.load(folder)[file.stem]
    print(page.section(told))
    own = told["programs"].get(results.WHERRY)
    return own is None or not own["out"]


def _say(line: str) -> None:
    print(line, flush=True)


def _list(options: argparse.Namespace) -> int:
    for workload in ALL:
        mark = " " if workload.on_page else "-"
        print(f"{mark} {workload.name:<14} {workload.title}")
        print(f"    {', '.join(program.name for program in workload.programs)}")
    print("\nThose with a dash are not on the page.\n")
    for name, version in peers.versions().items():
        print(f"  {name} {version}: {peers.program(name)}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    """Print what a full run does; the times are those of a machine with two cores and nothing else to do."""
    chosen = _of_the_page()
    for workload in chosen:
        names = [program.name + ("" if program.is_here() else " (not here)") for program in workload.programs]
        counted = (
            "once" if workload.kind == "simulated" else f"{options.rounds} rounds and one that does not count"
        )
        print(f"{workload.minutes(options.rounds):6.1f} min  {workload.title}: {counted}; {', '.join(names)}")
    profiles = _PROFILE_MINUTES * sum(map(profile.is_possible, chosen))
    print(f"{_CEILING_MINUTES:6.1f} min  what the sinks take")
    print(f"{profiles:6.1f} min  profiles, at a scale of {PROFILE_SCALE:g}")
    minutes = sum(workload.minutes(options.rounds) for workload in chosen) + profiles + _CEILING_MINUTES
    print(f"{minutes:6.1f} min  in all, about, with nothing else running")
    return 0


def _ceiling(puts: int, folder: Path | None) -> int:
    found = []
    with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir=machine.scratch()) as scratch:
        trust = certificate.make(Path(scratch))
        for kind in ("blob", "s3"):
            for secure in (None, trust):
                one = raw.measure(kind, Path(scratch), secure, puts)
                found.append(asdict(one))
                print(
                    f"{one.name:<12} {one.puts / one.seconds:8,.0f} puts/s   CPU us a put: sink {one.server:.1f}, "
                    f"client {one.client:.1f}"
                )
    if folder:
        results.write(folder, "ceiling", {"sinks": found})
    return 0


def _profile(options: argparse.Namespace) -> int:
    folder = results.FOLDER / options.into if options.into else None
    return profile.show(BY_NAME[options.workload], options.scale, options.scratch, folder)


def _page(run: str, *, quick: bool = False) -> int:
    """Write the page; of a quick run beside its results, never into the documentation."""
    folder = results.FOLDER / run
    file, scale, rounds = (
        (folder / page.FILE.name, QUICK_SCALE, QUICK_ROUNDS) if quick else (page.FILE, 1.0, FULL_ROUNDS)
    )
    try:
        text = page.whole(results.load(folder), _of_the_page(), rounds, scale)
    except page.Incomplete as why:
        print(f"no page: {why}", file=sys.stderr)
        return 1
    file.write_text(text)
    print(f"written: {file}")
    return 0
