"""The key by which people know this agent's SSH service again; made at its first start, in `ssh_host_key`."""

from __future__ import annotations

import asyncssh

from wherry.agent.state import AgentState
from wherry.client import kept_file

_ALGORITHM = "ssh-ed25519"


def host_key(state: AgentState) -> asyncssh.SSHKey:
    """The key of this agent."""
    file = state.directory / "ssh_host_key"
    if not file.exists():
        kept_file.create(file, asyncssh.generate_private_key(_ALGORITHM).export_private_key())
    return asyncssh.read_private_key(file)


def fingerprint(state: AgentState) -> str:
    """Its SHA-256 fingerprint, as `ssh` shows it to whoever connects for the first time."""
    return host_key(state).get_fingerprint()
