"""Entries that set the agent's way out: the proxy, and authorities that are trusted besides.  No rights are needed."""

from __future__ import annotations

import re
import ssl
from dataclasses import replace

from wherry.agent import network_report
from wherry.agent.shell.here import Here
from wherry.agent.shell.trial import try_way
from wherry.model.errors import UsageError
from wherry.model.way import Proxy
from wherry.trust.authority import fingerprint
from wherry.trust.keys import KeyTrouble

_NONE = "none"
_MOST_LINES = 1000
_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]{1,16000}-----END CERTIFICATE-----", re.ASCII
)


def proxy(here: Here) -> None:
    """Another proxy, or none."""
    known = here.state.registration()
    if known is not None and known.private_link_scope:
        raise UsageError(
            "This agent has a private link scope: it goes to private addresses itself, and by no proxy."
        )
    way = here.state.way()
    here.terminal.say(network_report.proxy(way))
    told = here.question(
        f"Proxy (http://HOST:PORT, {_NONE} for none)", _no_proxy, way.proxy.url if way.proxy else _NONE
    )
    if told.lower() == _NONE:
        try_way(here, replace(way, proxy=None))
        return
    user = here.question("User", lambda answer: _no_proxy(told, answer), note=" (Enter for none)")
    password = here.terminal.ask("Password: ", secret=True) if user else ""
    direct = here.question(
        f"Hosts and networks without the proxy, with spaces between them ({_NONE} for none)",
        lambda answer: _no_proxy(told, user, _words(answer)),
        " ".join(way.proxy.direct) if way.proxy and way.proxy.direct else _NONE,
    )
    try_way(here, replace(way, proxy=Proxy.parse(told, user, password, _words(direct))))


def authorities(here: Here) -> None:
    """Other certificates of authorities, or none."""
    way = here.state.way()
    here.terminal.say(
        f"Authorities that are trusted besides: {network_report.authorities(way)}. Paste all that are to be, in PEM, "
        f"then Enter on an empty line; {_NONE} for none."
    )
    text = _pasted(here)
    if text.strip().lower() == _NONE:
        try_way(here, replace(way, ca_pem=""))
        return
    found = _certificates(text)
    for one in found:
        here.terminal.say(f"SHA-256 {fingerprint(one.encode())}")
    if here.agrees("Trust whatever they sign, at the control plane and at stores?"):
        try_way(here, replace(way, ca_pem="".join(found)))


def _pasted(here: Here) -> str:
    lines: list[str] = []
    while len(lines) < _MOST_LINES:
        line = here.terminal.ask("").strip()
        if not line and lines:
            break
        lines.append(line)
        if line.lower() == _NONE:
            break
    return "\n".join(lines)


def _certificates(text: str) -> list[str]:
    """The certificates in a text; raises `UsageError` when there is none or one cannot be read."""
    found = [f"{one}\n" for one in _CERTIFICATE.findall(text)]
    try:
        for one in found:
            fingerprint(one.encode())
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="".join(found) or " ")
    except (ssl.SSLError, ValueError, KeyTrouble) as broken:
        raise UsageError(
            "That is no certificate that can be read. One begins with -----BEGIN CERTIFICATE-----."
        ) from broken
    return found


def _words(text: str) -> tuple[str, ...]:
    return () if text.strip().lower() == _NONE else tuple(text.replace(",", " ").split())


def _no_proxy(text: str, user: str = "", direct: tuple[str, ...] = ()) -> str:
    """What is wrong with these answers."""
    if text.lower() == _NONE:
        return ""
    try:
        Proxy.parse(text, user, "", direct)
    except UsageError as wrong:
        return str(wrong)
    return ""
