"""Entries about the way to what the agent needs."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from wherry.agent import facts, job_places, last_check, network_check, network_report
from wherry.agent.network_check import Endpoint, Result
from wherry.agent.shell.here import Here
from wherry.agent.shell.restricted import show_way
from wherry.model.errors import UsageError


def show(here: Here) -> None:
    """The machine's network, and the way to the control plane."""
    here.terminal.say(network_report.report(here.state.way()))
    server = here.state.server
    here.terminal.say(f"Control plane: {server or 'not set'}")
    if server:
        here.terminal.say(
            f"Address of this machine on the way to it: {facts.address(server) or 'no way there'}"
        )


def test(here: Here) -> None:
    """Each endpoint in a line, and what to mend."""
    passed = [_tell(here, result) for result in _all(here)]
    here.terminal.say(
        "All of them can be reached." if all(passed) else "Mend the first one that failed, and test again."
    )


def test_verbosely(here: Here) -> None:
    """The same with all steps."""
    for result in _all(here):
        _tell(here, result, verbose=True)


def test_single(here: Here) -> None:
    """An endpoint that is asked for: its name, the way to it, and HTTPS."""
    answer = here.question("Provide an endpoint (URL or host name) to test", _no_endpoint)
    verbose = here.agrees("Run in verbose mode?")
    found = network_check.endpoint(answer, here.state.way())
    result = network_check.check(found)
    _tell(here, result, verbose=verbose)
    if result.steps[0].passed:
        _trace(here, found)


def before_registration(here: Here) -> None:
    """Say what does not work yet; raises `UsageError` when something that the agent needs cannot be reached."""
    here.terminal.say("Testing the way to the control plane.")
    for found in network_check.endpoints(here.state):
        result = network_check.check(found)
        if not _tell(here, result):
            raise UsageError(f"The {result.what} cannot be reached. Mend that first; then register.")


def _all(here: Here) -> Iterator[Result]:
    """Results as they come: of what every agent needs, then of the places of this one's jobs; all are kept."""
    seen = []
    for found in network_check.endpoints(here.state):
        seen.append(network_check.check(found))
        yield seen[-1]
    for result in job_places.checked(here.state):
        seen.append(result)
        yield result
    last_check.keep(here.state, seen)


def _tell(here: Here, result: Result, *, verbose: bool = False) -> bool:
    last = result.steps[-1]
    word = "PASS" if result.passed else "FAIL"
    here.terminal.say(
        f"{word}  {result.what:<14}{result.url}"
        + ("" if result.passed else f"\n      {last.name}: {last.seen}")
    )
    for step in result.steps if verbose else ():
        here.terminal.say(f"      {step.name}: {step.seen} ({step.seconds * 1000:.0f} ms)")
    if not result.passed:
        here.terminal.say(f"      {last.remedy}")
    return result.passed


def _trace(here: Here, found: Endpoint) -> None:
    parts = urlsplit(found.url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    here.terminal.say(f"The way to {parts.hostname} port {port} over TCP:")
    show_way(here, str(parts.hostname), port)


def _no_endpoint(answer: str) -> str:
    try:
        network_check.endpoint(answer)
    except UsageError as wrong:
        return str(wrong)
    return ""
