"""A few bytes that several processes of this machine share, without a file that anybody could clean away.

What lies in /tmp is removed when it is old, also under a run that takes weeks, and what lies in the folder of a
session ends with that.  So it is memory of the process that makes it, reached by others of the same user through that
process' own descriptor, for as long as it lives.  Used by `lease` and `pacer`.
"""

from __future__ import annotations

import errno
import os

_NOT_EXECUTABLE = 0x8  # MFD_NOEXEC_SEAL, which newer kernels may insist on and older ones do not know


class Sheet:
    """So many zero bytes, for this user alone; any process opens them by `path`."""

    def __init__(self, name: str, size: int) -> None:
        try:
            self._handle = os.memfd_create(name, os.MFD_CLOEXEC | _NOT_EXECUTABLE)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._handle = os.memfd_create(name, os.MFD_CLOEXEC)
        os.fchmod(self._handle, 0o600)
        os.ftruncate(self._handle, size)
        self.path = f"/proc/{os.getpid()}/fd/{self._handle}"

    def close(self) -> None:
        """Let nobody open it any more; whoever has it open keeps what it has."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
