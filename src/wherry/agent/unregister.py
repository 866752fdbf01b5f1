"""Giving an agent's identity back: at the control plane first, then here.

Afterwards the machine is as if it had never been registered and may register anew, with a new key.  A daemon that
runs notices and waits for a registration.  Called by the command line and the shell.
"""

from __future__ import annotations

from collections.abc import Iterator

from wherry.agent.register import Step
from wherry.agent.state import AgentState
from wherry.client.agent_protocol import AgentProtocol
from wherry.client.proven import IdentityGone
from wherry.model.errors import UsageError


def unregister(state: AgentState, *, local_only: bool = False) -> Iterator[Step]:
    """Unregister this agent.

    `local_only` wipes the identity here without telling the control plane: for one that is gone for good.
    Raises `UsageError` when it is not registered, `Unreachable` or `ApiError` when the control plane did not do it;
    nothing is changed then.
    """
    identity = state.identity()
    known = state.registration()
    if identity is None or known is None:
        raise UsageError("This agent is not registered.")
    if not local_only:
        protocol = AgentProtocol(identity)
        try:
            protocol.unregister()
            yield Step("connect", f"The control plane has removed {known.agent_id} and its identity.")
        except IdentityGone:
            yield Step("connect", "The control plane had removed this agent's identity before.")
        finally:
            protocol.close()
    state.forget()
    yield Step("unregistered", "Key and identity are wiped from this machine.")
