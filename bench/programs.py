"""The programs that compete, and how each is called for one piece of work. All keep their log, none shows progress.

Where a program has a choice that decides its speed (how many transfers at once), the choices are its `variants`: each
is tried once before the rounds and the fastest one competes.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import peers
from bench.sink import CONTAINER, Sink

SAS = "sv=2024-11-04&sr=c&sp=racwdl&se=2099-01-01T00%3A00%3A00Z&sig=bm90LWEtc2VjcmV0"


@dataclass(frozen=True)
class Errand:
    """One piece of work: copy `source` to `target`, or to `sink` where there is one; `scratch` takes logs."""

    source: Path
    target: Path
    scratch: Path
    authority: Path
    sink: Sink | None = None


Flags = tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A competitor. `needs` is the program that must be here; `flags` those that its variants do not change."""

    name: str
    needs: str
    call: Callable[[Errand, Flags], list[str]]
    flags: Flags = ()
    variants: tuple[Flags, ...] = ((),)
    environment: Callable[[Errand], dict[str, str]] = field(default=lambda _: {})
    note: str = ""

    def command(self, errand: Errand, variant: Flags) -> list[str]:
        return self.call(errand, self.flags + variant)

    def is_here(self) -> bool:
        return self.needs == "wherry" or peers.program(self.needs) is not None


def shown(program: Program, variant: Flags) -> str:
    """The command line as the page tells it."""
    places = Errand(Path("SRC"), Path("DST"), Path("."), Path("ca.pem"))
    words = program.command(places, variant)
    return shlex.join([os.path.basename(words[0]), *words[1:]])


# ---------------------------------------------------------------- Wherry


def _wherry(errand: Errand, flags: Flags) -> list[str]:
    program = str(Path(sys.executable).with_name("wherry"))
    target = f"{errand.sink.kind}:{errand.sink.url}" if errand.sink else str(errand.target)
    log = str(errand.scratch / "log.jsonl")
    return [program, "copy", str(errand.source), target, "--log", log, "--quiet", *flags]


def _wherry_environment(errand: Errand) -> dict[str, str]:
    authority = str(errand.authority)
    return {
        "WHERRY_BLOB_SAS": SAS, "WHERRY_BLOB_CA_FILE": authority,
        "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-bench", "AWS_REGION": "us-east-1",
        "AWS_CA_BUNDLE": authority,
    }  # fmt: skip


WHERRY = Program("wherry", "wherry", _wherry, environment=_wherry_environment)

# ---------------------------------------------------------------- folder to folder


def _peer(name: str) -> str:
    return peers.program(name) or name


def _cp(errand: Errand, flags: Flags) -> list[str]:
    return [_peer("cp"), *flags, f"{errand.source}/.", str(errand.target)]


def _rsync(errand: Errand, flags: Flags) -> list[str]:
    log = f"--log-file={errand.scratch / 'rsync.log'}"
    return [_peer("rsync"), *flags, log, f"{errand.source}/", f"{errand.target}/"]


def _fpsync(errand: Errand, flags: Flags) -> list[str]:
    work = errand.scratch / "fpsync"
    options = "-lptgoD -HAX --numeric-ids --whole-file"
    return [
        _peer("fpsync"), "-t", str(work), "-s", str(256 * 1024**2), "-o", options, *flags,
        f"{errand.source}/", f"{errand.target}/",
    ]  # fmt: skip


FPSYNC_BIG_JOBS = Program("fpsync", "fpsync", _fpsync, ("-n", "2", "-f", "50000"))
CP = Program("cp -a", "cp", _cp, ("-a",), note="has no log")
RSYNC = Program("rsync -a", "rsync", _rsync, ("-a",))
RSYNC_ALL = Program(
    "rsync -aHAX", "rsync", _rsync, ("-aHAX", "--whole-file", "--inplace"),
    note="keeps hard links, ACLs and attributes too, as wherry and cp do; writes in place",
)  # fmt: skip
FPSYNC = Program(
    "fpsync", "fpsync", _fpsync,
    variants=(("-n", "2", "-f", "50000"), ("-n", "4", "-f", "2000"), ("-n", "4", "-f", "10000")),
)  # fmt: skip


def _rclone(target: str, errand: Errand, flags: Flags) -> list[str]:
    log = ["--log-file", str(errand.scratch / "rclone.log"), "-v"]
    trust = ["--ca-cert", str(errand.authority)] if errand.sink else []
    place = target or str(errand.target)
    return [
        _peer("rclone"), "copy", str(errand.source), place, "--config", os.devnull, "--metadata", *log, *trust, *flags
    ]  # fmt: skip


def _rclone_local(errand: Errand, flags: Flags) -> list[str]:
    return _rclone("", errand, flags)


def transfers(*numbers: int) -> tuple[Flags, ...]:
    """Variants of rclone by how many files it handles at once."""
    return tuple(("--transfers", str(number), "--checkers", str(max(8, number))) for number in numbers)


_LOCAL_FLAGS = ("--inplace", "--local-no-preallocate")
_LARGE_VARIANTS = tuple(
    ("--transfers", files, "--multi-thread-streams", streams)
    for files in ("2", "5")
    for streams in ("0", "4")
)
RCLONE = Program(
    "rclone", "rclone", _rclone_local, _LOCAL_FLAGS, transfers(4, 16, 32, 64),
    note="as by default it reads both sides again and compares their MD5",
)  # fmt: skip
RCLONE_LINKS = Program("rclone", "rclone", _rclone_local, (*_LOCAL_FLAGS, "--links"))
RCLONE_UNCHECKED = replace(
    RCLONE, name="rclone, checks off", flags=(*_LOCAL_FLAGS, "--ignore-checksum"), note=""
)
RCLONE_RESCAN = replace(RCLONE, variants=transfers(8, 32))
RCLONE_LARGE = replace(RCLONE, variants=_LARGE_VARIANTS)
RCLONE_LARGE_UNCHECKED = replace(RCLONE_UNCHECKED, variants=_LARGE_VARIANTS)

# ---------------------------------------------------------------- folder to sink


def _rclone_sink(errand: Errand, flags: Flags) -> list[str]:
    return _rclone(f"sink:{CONTAINER}", errand, flags)


def _rclone_environment(errand: Errand) -> dict[str, str]:
    if errand.sink is None:
        return {}
    section = "RCLONE_CONFIG_SINK_"
    if errand.sink.kind == "blob":
        return {f"{section}TYPE": "azureblob", f"{section}SAS_URL": f"{errand.sink.url}?{SAS}"}
    return {
        f"{section}TYPE": "s3", f"{section}PROVIDER": "Other", f"{section}ENDPOINT": errand.sink.service,
        f"{section}REGION": "us-east-1", f"{section}FORCE_PATH_STYLE": "true",
        f"{section}ACCESS_KEY_ID": "bench", f"{section}SECRET_ACCESS_KEY": "bench-bench",
    }  # fmt: skip


def _azcopy(errand: Errand, flags: Flags) -> list[str]:
    url = f"{errand.sink.url}?{SAS}" if errand.sink else "URL"
    return [
        _peer("azcopy"), "copy", f"{errand.source}/*", url, "--recursive", "--from-to", "LocalBlob",
        "--preserve-posix-properties", "--check-length=false", "--log-level=INFO", "--output-level=essential",
        "--skip-version-check", *flags,
    ]  # fmt: skip


def _azcopy_environment(errand: Errand) -> dict[str, str]:
    folder = str(errand.scratch)
    return {
        "AZCOPY_LOG_LOCATION": folder, "AZCOPY_JOB_PLAN_LOCATION": folder, "AZCOPY_DISABLE_SYSLOG": "true",
        "SSL_CERT_FILE": str(errand.authority), "HOME": folder,
    }  # fmt: skip


def rclone_to(
    kind: str, *, large: bool = False, checked: bool = True, at_once: tuple[int, ...] = (4, 16, 32, 64)
) -> Program:
    """rclone with what is fastest for this kind of sink; `checked` False: no checksum that it can leave out.

    `at_once`: how many small files at a time it is tried with.
    """
    backend = "azureblob" if kind == "blob" else "s3"
    flags: Flags = ("--fast-list",)
    if kind == "s3":
        flags += ("--s3-no-check-bucket", "--s3-no-head")
    if not checked:
        flags += ("--ignore-checksum", f"--{backend}-disable-checksum")
    if kind == "blob":
        flags += ("--azureblob-no-check-container",)
    variants = transfers(*at_once)
    if large:
        variants = tuple(
            (
                "--transfers",
                "4",
                f"--{backend}-upload-concurrency",
                str(number),
                f"--{backend}-chunk-size",
                chunk,
            )
            for number in (4, 16)
            for chunk in ("8Mi", "32Mi")
        )
    return Program(
        "rclone" if checked else "rclone, checks off",
        "rclone",
        _rclone_sink,
        flags,
        variants,
        _rclone_environment,
    )


AZCOPY = Program("azcopy", "azcopy", _azcopy, environment=_azcopy_environment)
