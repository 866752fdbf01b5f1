"""What `wherry env` prints: the variables by which clients find a control plane on this machine."""

from __future__ import annotations

import shlex
from pathlib import Path

from wherry.control import deployment
from wherry.model.errors import UsageError


def variables(state: Path) -> dict[str, str]:
    """The variables of the deployment in `state`; `UsageError` when it has never been served."""
    found = deployment.describe(state)
    if not found.public_url:
        raise UsageError(f"{state} has not been served yet: start `wherry serve --state {state}` once.")
    return {
        "WHERRY_URL": found.public_url,
        "WHERRY_AUTHORITY": found.public_url,
        "WHERRY_TENANT_ID": found.tenant,
        "WHERRY_SUBSCRIPTION_ID": found.subscription,
        "WHERRY_CA_FILE": found.ca_file,
    }


def text(state: Path) -> str:
    """The same as lines for a shell to evaluate."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables(state).items())
