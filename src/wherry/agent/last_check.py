"""What the last test of the network came to, kept in the state directory for the next support bundle.

Called by the shell, `wherry agent check` and `bundle_own`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from wherry.agent.network_check import Result
from wherry.agent.state import AgentState
from wherry.client import kept_file

FILE = "network-check.json"


def keep(state: AgentState, results: Sequence[Result]) -> None:
    """Keep these in place of the last ones."""
    told = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "results": [one.to_json() for one in results],
    }
    kept_file.replace(state.directory / FILE, json.dumps(told, indent=2).encode() + b"\n")
