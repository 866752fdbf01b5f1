"""The entries by which an agent comes to a storage mover and leaves it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import closing

from wherry.agent import register as registering
from wherry.agent.register import Step, Wanted, register, wanted_again
from wherry.agent.shell import network, qr
from wherry.agent.shell.here import Here
from wherry.agent.unregister import unregister
from wherry.client.device_code import DeviceCode
from wherry.model import ids, tags
from wherry.model.errors import ApiError, UsageError

_COUNTDOWN = 60.0
_WIDE = 60
_MOVER = "microsoft.storagemover/storagemovers"
_SCOPE = "microsoft.hybridcompute/privatelinkscopes"
Trouble = Callable[[str], str]


def register_or_unregister(here: Here) -> None:
    """What the main menu's entry stands for at this moment."""
    if here.state.registration() is None:
        _register(here)
    else:
        _unregister(here)


def set_control_plane(here: Here) -> None:
    """Which control plane this agent trusts, told by the fingerprint of its authority."""
    if here.state.registration() is not None:
        raise UsageError("This agent is registered. Unregister it before it trusts another control plane.")
    url = here.question("Control plane (https://HOST[:PORT])", _no_url, here.state.server or "")
    print_ = here.question("Fingerprint of its certificate authority (SHA-256)", _no_fingerprint)
    here.terminal.say(registering.trust(here.state, url, ca_fingerprint=print_).text)


def _register(here: Here) -> None:
    if here.state.server is None:
        raise UsageError(
            "No control plane is set. Set it first: Network configuration, Update network configuration."
        )
    network.before_registration(here)
    _register_by(here, _wanted(here))


def _unregister(here: Here) -> None:
    known = here.state.registration()
    if known is None or not here.agrees(
        f"Unregister {known.agent}? Its identity and its access end at once."
    ):
        return
    try:
        for step in unregister(here.state):
            _show(here, step)
    except ApiError as refused:
        if refused.code not in ("identity_locked", "identity_expired"):
            raise
        here.terminal.say(str(refused))
        if here.agrees("Register it again in its place?"):
            _register_by(here, wanted_again(here.state), again=True)


def _wanted(here: Here) -> Wanted:
    """The five questions and the tags; the first also takes the id of the mover, which answers three of them."""
    told = here.question("Subscription ID", _no_subscription, note=" (or the storage mover's resource ID)")
    if told.startswith("/"):
        mover = ids.ResourceId.parse(told)
        subscription, group, name = mover.subscription, str(mover.group), mover.name
    else:
        subscription = told
        group = here.question("Resource group name", _not(ids.GROUP_NAME, "resource group name"))
        name = here.question("Storage mover resource name", _not(ids.NAME, "storage mover name"))
    agent = here.question("Agent name", _not(ids.AGENT_NAME, "agent name"))
    scope = here.question("Private Link Scope", _no_scope, note=" (resource ID; Enter for none)")
    told = here.question("Tags", _no_tags, note=" (NAME=VALUE, with commas between; Enter for none)")
    return Wanted(subscription, group, name, agent, private_link_scope=scope, tags=tags.parse(told))


class _Waiting:
    """Waits for a person to approve, says each minute how long the code is good for, and ends with Ctrl-C."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._code: DeviceCode | None = None
        self._told_at = 0.0

    def for_(self, code: DeviceCode) -> None:
        """A code was shown."""
        self._code, self._told_at = code, time.monotonic()

    def __call__(self, seconds: float) -> None:
        self._here.terminal.rest(seconds)
        now = time.monotonic()
        if self._code is not None and now - self._told_at >= _COUNTDOWN:
            self._told_at = now
            minutes = max(0, round((self._code.expires_at - now) / 60))
            self._here.terminal.say(f"The code {self._code.user_code} is good for {minutes} more minutes.")


def _register_by(here: Here, wanted: Wanted, *, again: bool = False) -> None:
    waiting = _Waiting(here)
    with closing(register(here.state, wanted, sleep=waiting, again=again)) as steps:
        for step in steps:
            _show(here, step)
            if step.code is not None:
                _offer_picture(here, step.code)
                waiting.for_(step.code)


def _show(here: Here, step: Step) -> None:
    here.terminal.say(f"[{step.name}] {step.text}")


def _offer_picture(here: Here, code: DeviceCode) -> None:
    if here.terminal.width >= _WIDE and here.agrees("Show the address as a QR code?"):
        here.terminal.say(qr.drawn(code.url))
    here.terminal.say("Waiting for the approval. Ctrl-C ends it; nothing is registered then.")


def _no_url(answer: str) -> str:
    return (
        ""
        if answer.lower().startswith("https://") and len(answer) > 8
        else "An address begins with https://."
    )


def _no_fingerprint(answer: str) -> str:
    digits = answer.replace(":", "").replace(" ", "")
    plain = len(digits) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in digits)
    return "" if plain else "A SHA-256 fingerprint has 64 hexadecimal digits."


def _not(pattern: re.Pattern[str], what: str) -> Trouble:
    """What is wrong with an answer that `pattern` does not fit."""
    return lambda answer: "" if pattern.fullmatch(answer) else f"This is not a valid {what}."


def _no_subscription(answer: str) -> str:
    if not answer.startswith("/"):
        return "" if ids.GUID.fullmatch(answer) else "A subscription ID is a GUID, as `wherry env` prints it."
    return _no_id_of(_MOVER, "a storage mover")(answer)


def _no_scope(answer: str) -> str:
    return _no_id_of(_SCOPE, "a private link scope")(answer) if answer else ""


def _no_tags(answer: str) -> str:
    try:
        tags.parse(answer)
    except UsageError as wrong:
        return str(wrong)
    return ""


def _no_id_of(kind: str, what: str) -> Trouble:
    def trouble(answer: str) -> str:
        try:
            found = ids.ResourceId.parse(answer)
        except ApiError:
            found = None
        return (
            ""
            if found is not None and found.type.lower() == kind
            else f"This is not the resource ID of {what}."
        )

    return trouble
