"""The workloads, each with its tree, its competitors and what is asked of Wherry there.

`wide` counts those of the page; the others are asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from bench import programs, trees
from bench.figures import Asked, growth, memory, rate, ratio
from bench.programs import Program
from bench.trees import GIB, KIB, File

Kind = Literal["copy", "rescan", "simulated", "fidelity"]


@dataclass(frozen=True)
class Workload:
    """One piece of work. `shape` gives the files at a scale; `sink` names the kind of sink, if it goes to one."""

    name: str
    title: str
    shape: Callable[[float], Iterator[File]]
    programs: tuple[Program, ...]
    asked: tuple[Asked, ...] = ()
    kind: Kind = "copy"
    sink: Literal["", "blob", "s3"] = ""
    secure: bool = False
    latency: float = 0.0
    hollow: bool = False
    changed: int = 0
    """Before each rescan every so many-th file of the target gets another time."""
    size: float = 0.0
    """Bytes of scratch space at full scale."""
    on_page: bool = True
    sizes: tuple[int, ...] = field(default=())
    """Items of a simulated source, one run for each."""
    seconds: float = 0.0
    """About how long all programs take once, with clearing up and comparing, on two idle cores."""
    once: float = 0.0
    """About how long it takes besides: trees, variants of programs, the bytes of the first round."""

    def minutes(self, rounds: int) -> float:
        """About how long all of it takes."""
        return (self.once + self.seconds * (1 if self.kind == "simulated" else rounds + 1)) / 60


def _small(count: int) -> Callable[[float], Iterator[File]]:
    return lambda scale: trees.small(int(count * scale))


def _large(count: int) -> Callable[[float], Iterator[File]]:
    return lambda scale: trees.large(count, int(GIB * scale))


_FOLDERS = (programs.WHERRY, programs.CP, programs.RSYNC, programs.RSYNC_ALL)
_LOCAL = (*_FOLDERS, programs.RCLONE, programs.RCLONE_UNCHECKED, programs.FPSYNC)
_LOCAL_LARGE = (
    *_FOLDERS, programs.RCLONE_LARGE, programs.RCLONE_LARGE_UNCHECKED, programs.FPSYNC_BIG_JOBS,
)  # fmt: skip
_TO_BLOB = (programs.WHERRY, programs.rclone_to("blob"), programs.AZCOPY)
_TO_S3 = (programs.WHERRY, programs.rclone_to("s3"))
# How many transfers rclone is tried with where few are slow beyond doubt.
_MANY = (16, 32, 64)
_SMALL_SINK = 20_000 * 5 * KIB
_AGAINST_RCLONE = ratio("rclone", 3, 5)


def _large_to(kind: Literal["blob", "s3"], secure: bool = False) -> Workload:
    others: tuple[Program, ...] = (
        programs.rclone_to(kind, large=True), programs.rclone_to(kind, large=True, checked=False)
    )  # fmt: skip
    return Workload(
        f"large-{kind}" + ("-https" if secure else ""),
        f"4 x 1 GiB → {'Blob' if kind == 'blob' else 'S3'} sink, http{'s' if secure else ''}",
        _large(4),
        (programs.WHERRY, *others, *((programs.AZCOPY,) if kind == "blob" else ())),
        (ratio("rclone", 2), ratio("rclone, checks off", 1), *(() if secure else (rate("GB", None, 3),))),
        sink=kind, secure=secure, size=4.2 * GIB, on_page=not secure, seconds=21, once=95,
    )  # fmt: skip


ALL = (
    Workload(
        "small", "100,000 x 4 KiB, folder → folder", _small(100_000), _LOCAL,
        (ratio("rsync -a", 2, 3), ratio("cp -a", 1.2, 2), ratio("rclone", 3, 5), ratio("rclone, checks off", 3, 5)),
        size=100_000 * 12 * KIB, seconds=37, once=90,
    ),
    Workload(
        "large", "5 x 1 GiB, folder → folder", _large(5), _LOCAL_LARGE,
        (ratio("cp -a", 1, 2), ratio("rsync -a", 2), ratio("rclone, checks off", 1)),
        size=10.5 * GIB, seconds=45, once=85,
    ),
    Workload(
        "blob", "20,000 x 4 KiB → Blob sink, http", _small(20_000), _TO_BLOB,
        (ratio("rclone", 3), rate("puts", 12_000, 25_000)), sink="blob", size=_SMALL_SINK, seconds=11, once=25,
    ),
    Workload(
        "blob-https", "20,000 x 4 KiB → Blob sink, https", _small(20_000), _TO_BLOB,
        (ratio("rclone", 3), rate("puts", 8_000, 20_000)),
        sink="blob", secure=True, size=_SMALL_SINK, seconds=14, once=30,
    ),
    Workload(
        "blob-latency", "20,000 x 4 KiB → Blob sink, http, 10 ms of latency", _small(20_000),
        (programs.WHERRY, programs.rclone_to("blob", at_once=_MANY), programs.AZCOPY),
        (_AGAINST_RCLONE,), sink="blob", latency=0.01, size=_SMALL_SINK, seconds=16, once=35,
    ),
    Workload(
        "s3", "20,000 x 4 KiB → S3 sink, http", _small(20_000), _TO_S3, (_AGAINST_RCLONE,),
        sink="s3", size=_SMALL_SINK, seconds=7, once=25,
    ),
    Workload(
        "s3-latency", "20,000 x 4 KiB → S3 sink, http, 10 ms of latency", _small(20_000),
        (programs.WHERRY, programs.rclone_to("s3", at_once=_MANY)),
        (_AGAINST_RCLONE,), sink="s3", latency=0.01, size=_SMALL_SINK, seconds=11, once=35,
    ),
    _large_to("blob"),
    _large_to("s3"),
    Workload(
        "mix", "100,000 items of the original's mix → Blob sink, http",
        lambda scale: trees.mix(int(100_000 * scale)),
        (programs.WHERRY, programs.rclone_to("blob", at_once=_MANY), programs.AZCOPY), (rate("items", 6_000, 12_000),),
        sink="blob", size=100_000 * 20 * KIB, seconds=45, once=75,
    ),
    Workload(
        "rescan", "1,000,000 items, nothing changed, folder → folder",
        lambda scale: trees.small(int(999_000 * scale)),
        (
            programs.WHERRY, programs.RSYNC, programs.RSYNC_ALL, programs.RCLONE_RESCAN, programs.FPSYNC_BIG_JOBS,
        ),
        (ratio("rsync -aHAX", 2, 4), ratio("rclone", 3, 6)),
        kind="rescan", hollow=True, size=2_000_000 * 1.5 * KIB, seconds=64, once=140,
    ),
    Workload(
        "flat", "one folder of 1,000,000 files, folder → folder",
        lambda scale: trees.flat(int(1_000_000 * scale)), (programs.WHERRY,),
        (memory(350, 200),), size=2_000_000 * 5.5 * KIB, seconds=34, once=60,
    ),
    Workload(
        "memory", "10,000,000 simulated items → a target that holds nothing", lambda _: iter(()),
        (programs.WHERRY,), (memory(350, 200), growth(1.25)), kind="simulated",
        sizes=(1_000_000, 10_000_000), seconds=240,
    ),
    Workload(
        "fidelity", "what a copy keeps of a tree of oddities, folder → folder", lambda _: iter(()),
        (
            programs.WHERRY, programs.CP, programs.RSYNC, programs.RSYNC_ALL, programs.RCLONE_LINKS,
            programs.FPSYNC_BIG_JOBS,
        ),
        kind="fidelity", seconds=5,
    ),
    # Not on the page: looks into single questions.
    _large_to("blob", secure=True),
    _large_to("s3", secure=True),
    Workload(
        "s3-https", "20,000 x 4 KiB → S3 sink, https", _small(20_000), _TO_S3, (_AGAINST_RCLONE,),
        sink="s3", secure=True, size=_SMALL_SINK, on_page=False,
    ),
    Workload(
        "mix-local", "100,000 items of the original's mix, folder → folder",
        lambda scale: trees.mix(int(100_000 * scale)), _LOCAL, size=100_000 * 40 * KIB, on_page=False,
    ),
    Workload(
        "changes", "200,000 items, one file in a hundred changed, folder → folder", _small(200_000),
        (programs.WHERRY, programs.RSYNC, programs.RSYNC_ALL, programs.RCLONE, programs.FPSYNC_BIG_JOBS),
        kind="rescan", changed=100, size=200_000 * 11 * KIB, on_page=False,
    ),
    Workload(
        "deep", "200 levels of folders and one wide one, folder → folder",
        lambda scale: trees.deep(200, wide=int(10_000 * scale)), _LOCAL, size=12_000 * 10 * KIB, on_page=False,
    ),
)  # fmt: skip

BY_NAME = {workload.name: workload for workload in ALL}
