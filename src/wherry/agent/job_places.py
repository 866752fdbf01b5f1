"""Whether this machine reaches the sources and targets of its agent's jobs, as `network_check` tests all else.

Which these are the control plane tells; no credential is asked for or sent.  A folder is looked at on this machine, as
the user who asks.  Called by the shell and `wherry agent check`.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wherry.agent import network_check
from wherry.agent.network_check import Endpoint, Result, Step
from wherry.agent.state import AgentState
from wherry.client import job_status
from wherry.client.connection import Json, Unreachable
from wherry.client.proven import IdentityGone
from wherry.model.errors import ApiError, UsageError
from wherry.model.way import Way

_LOCAL = "LocalMount"


def checked(state: AgentState) -> Iterator[Result]:
    """Test one place after the other; none while the agent is not registered."""
    identity = state.identity()
    if identity is None:
        return
    begun = time.monotonic()
    try:
        with job_status.asking(identity) as jobs:
            places = jobs.places()
    except (Unreachable, IdentityGone, ApiError) as trouble:
        remedy = "Mend the way to the control plane first: it tells which places the jobs have."
        step = Step("question", False, str(trouble), time.monotonic() - begun, remedy)
        yield Result("jobs", identity.url, (step,))
        return
    for place in places:
        yield _checked(place, identity.way)


def _checked(place: Json, way: Way) -> Result:
    what, location = f"{place.get('side')} {place.get('name')}", str(place.get("location", ""))
    if place.get("kind") == _LOCAL:
        return Result(what, location, (_folder(Path(location), source=place.get("side") == "source"),))
    try:
        found = replace(network_check.endpoint(location, way), what=what)
        return network_check.check(_trusting(found, str(place.get("certificates") or ""), way))
    except (UsageError, ssl.SSLError) as strange:
        return Result(what, location, (Step("address", False, str(strange), 0.0, "Correct the endpoint."),))


def _trusting(found: Endpoint, certificates: str, way: Way) -> Endpoint:
    """A service, trusted by the certificates of its endpoint and by no other, where that has some."""
    if not certificates:
        return found
    trusted = f"{certificates}\n{way.ca_pem}"
    return replace(found, context=lambda: ssl.create_default_context(cadata=trusted))


def _folder(folder: Path, *, source: bool) -> Step:
    """Whether a folder of this machine can be used."""
    begun = time.monotonic()

    def step(seen: str, remedy: str = "") -> Step:
        return Step("folder", not remedy, seen, time.monotonic() - begun, remedy)

    if folder.is_dir():
        wanted, word = (os.R_OK, "read") if source else (os.R_OK | os.W_OK, "written")
        if os.access(folder, wanted | os.X_OK):
            return step(f"it is there and can be {word}")
        return step(f"it cannot be {word}", "Give the user that the agent runs as the right to it.")
    if folder.exists():
        return step("it is no folder", "Correct the path of the endpoint.")
    if source:
        return step("it is not there", "Mount it on this machine, or correct the path of the endpoint.")
    return step("it is not there: the first run makes it")
