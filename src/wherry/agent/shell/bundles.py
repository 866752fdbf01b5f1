"""The support bundles as files that can be fetched by SFTP: no writing, no way out of their folder."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import asyncssh

from wherry.agent import bundle
from wherry.agent.state import AgentState


def _refuse(*_: object, **__: object) -> NoReturn:
    raise asyncssh.SFTPPermissionDenied("Support bundles may be read, nothing else.")


class ReadOnlyFiles(asyncssh.SFTPServer):
    """One session; without an agent's state it refuses everything."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], state: AgentState | None) -> None:
        if state is None:
            raise asyncssh.SFTPPermissionDenied("Change the password first.")
        self._folder = bytes(bundle.folder(state))
        super().__init__(channel, chroot=self._folder)

    def map_path(self, path: bytes) -> bytes:
        """Where a path of the client's leads: to the folder of the bundles, or to a file right in it."""
        found = bytes(super().map_path(path))
        # Nobody but the agent writes there, and it makes no folders and no links: one is not its own.
        beside = os.path.dirname(found) == self._folder and not os.path.islink(found)
        if not beside and found.rstrip(b"/") != self._folder:
            _refuse()
        return found

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if pflags & ~asyncssh.FXF_READ:
            _refuse()
        return super().open(path, pflags, attrs)

    # `open56` is the form of clients that nobody has here.
    open56 = write = setstat = lsetstat = fsetstat = _refuse
    remove = mkdir = rmdir = rename = posix_rename = symlink = link = _refuse
