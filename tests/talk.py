"""Talk to a program as a person does: wait for what it shows, then type."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Talk:
    """One session over two file descriptors, in which each line is typed when it is asked for."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads = reads
        self._writes = writes
        self._at = 0
        self._gone = False
        self.raw = ""

    @property
    def shown(self) -> str:
        """All of it so far, without what moves the cursor."""
        return _COLOURS.sub("", self.raw)

    def wait_for(self, text: str) -> None:
        """Read until `text` was shown, behind what was waited for before."""
        while (at := self.raw.find(text, self._at)) < 0:
            assert self._more(), f"it ended before {text!r}: {self.raw}"
        self._at = at + len(text)

    def type(self, after: str, line: str) -> None:
        """Type `line` once `after` was shown."""
        self.wait_for(after)
        os.write(self._writes, line.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Make the terminal smaller or larger; its program is told."""
        fcntl.ioctl(self._reads, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hang_up(self) -> None:
        """Close the terminal, as when its window or the line to it is gone."""
        os.close(self._reads)
        self._gone = True

    def rest(self) -> None:
        """Read to the end."""
        while not self._gone and self._more():
            pass

    def close(self) -> None:
        """Let go of the terminal of a program that has ended."""
        if not self._gone:
            os.close(self._reads)

    def _more(self) -> bool:
        # A terminal is gone when its last process has ended.
        with contextlib.suppress(OSError):
            piece = os.read(self._reads, 1 << 16)
            self.raw += piece.decode(errors="replace")
            return bool(piece)
        return False


@contextmanager
def on_terminal(command: Sequence[str], environment: Mapping[str, str], code: int = 0) -> Iterator[Talk]:
    """Run a program on a terminal of its own, to its end when the block is over, which has to be this `code`."""
    pid, terminal = pty.fork()
    if not pid:
        os.execve(command[0], list(command), dict(environment))
    _keep_all(terminal)
    talk = Talk(terminal, terminal)
    try:
        yield talk
        talk.rest()
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        talk.close()
    assert ended == code, talk.shown


def _keep_all(terminal: int) -> None:
    """Let Ctrl-C throw away nothing that is on its way: it may be the answer to it."""
    told = termios.tcgetattr(terminal)
    told[3] |= termios.NOFLSH
    termios.tcsetattr(terminal, termios.TCSANOW, told)
