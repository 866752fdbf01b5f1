"""Fixtures that all tests share: a real Blob server, a private temporary folder, a guard against leaked processes."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import processes
from tests.azurite import Azurite, AzuriteMissing, running_azurite
from tests.buckets import BucketServer, running_buckets

# Made by multiprocessing once a process and kept until it ends.
PERMANENT = (b"multiprocessing.resource_tracker", b"multiprocessing.forkserver")
GRACE = 5.0
MEMORY = "/dev/shm"
ROOM = 2 << 30
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


# The same examples every time, on a machine of any speed; `make chaos` looks for others.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("steady"), derandomize=False, max_examples=2000)
settings.load_profile("steady")


def pytest_sessionstart() -> None:
    """Collecting makes many objects and no garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What all the tests' modules hold stays; looking through it at each collection took a tenth of all time."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def private_tmp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests and the processes of tests leave in the temporary folder stays in one of their own.

    It is in memory where there is room: copies keep their ledgers there, whose every commit waits for the disk.
    """
    with ExitStack() as stack:
        folder = str(tmp_path_factory.mktemp("tmp"))
        if free(MEMORY) >= ROOM:
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY, ignore_cleanup_errors=True))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


def free(folder: str) -> int:
    """How many bytes a file system has room for; none where there is no such folder."""
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return 0
    return found.f_bavail * found.f_frsize


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """One Blob server for the session; each test makes containers of its own in it."""
    try:
        with running_azurite(tmp_path_factory.mktemp("azurite")) as server:
            yield server
    except AzuriteMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[BucketServer]:
    """One server of S3 for the session; each test makes buckets of its own in it."""
    with running_buckets() as server:
        yield server


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """A test that leaves a process running fails, and the process is named."""
    before = children()
    yield
    deadline = time.monotonic() + GRACE
    while (left := children() - before - processes.kept) and time.monotonic() < deadline:
        time.sleep(0.05)
    names = {pid: command_line(pid).replace(b"\0", b" ").decode(errors="replace") for pid in left}
    assert not names, f"processes left behind: {names}"


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """What a program does on signals, when its test runs it in this process, is no matter of the next test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def children() -> set[int]:
    """Living child processes of this one, but for those that multiprocessing keeps."""
    pids = {
        int(pid) for listing in Path("/proc/self/task").glob("*/children") for pid in read(listing).split()
    }
    return {pid for pid in pids if is_running(pid) and not any(p in command_line(pid) for p in PERMANENT)}


def is_running(pid: int) -> bool:
    """Whether the process has not ended; one that only waits to be reaped has."""
    return read(Path(f"/proc/{pid}/stat")).rpartition(b") ")[2][:1] not in {b"", b"Z", b"X"}


def command_line(pid: int) -> bytes:
    return read(Path(f"/proc/{pid}/cmdline"))


def read(path: Path) -> bytes:
    """The file's content; nothing if its process or thread has ended meanwhile."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
