"""A PostgreSQL server of its own for tests, without a network; started and ended with the block."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
_LIMIT = 60.0


def programs() -> Path | None:
    """Where the programs of a server are; None on a machine without."""
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else next(iter(_PLACES), None)


@contextmanager
def running_postgresql() -> Iterator[str]:
    """The URL of an empty database, sorted and compared by bytes."""
    binaries = programs()
    assert binaries is not None
    # The server refuses to be root's, and its user has to get there.
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = str(folder / "data")
        make = [
            str(binaries / "initdb"),
            "-D",
            data,
            "-U",
            "wherry",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        subprocess.run([*make, "--no-sync"], user=user, cwd=folder, check=True, capture_output=True)
        options = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off")
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [str(binaries / "postgres"), "-D", data, *options], user=user, cwd=folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            _await(folder, server)
            yield f"postgresql+psycopg://wherry@/postgres?host={folder}"
        finally:
            server.terminate()
            server.wait(_LIMIT)
    finally:
        shutil.rmtree(folder)


def _await(folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _LIMIT
    while b"ready to accept connections" not in (told := (folder / "log").read_bytes()):
        assert server.poll() is None, told
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
