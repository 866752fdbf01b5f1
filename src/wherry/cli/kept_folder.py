"""A temporary folder that nobody cleans away while it is in use: copies take days, and /tmp is tidied meanwhile.

systemd-tmpfiles leaves a folder alone on which somebody has a lock.  Called by `copy_run` and `copy_manifest`.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def kept_folder(prefix: str, beside: Path | None = None) -> Iterator[Path]:
    """An empty folder, in `beside` or where temporary files are; it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=beside) as folder:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield Path(folder)
        finally:
            os.close(handle)
