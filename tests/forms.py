"""What a browser would make of a page: hidden fields of its forms, what it offers to an authenticator."""

from __future__ import annotations

import base64
import html
import re
from html.parser import HTMLParser

_SECRET = re.compile(r"<code>([A-Z2-7 ]{32,})</code>")
_CODES = re.compile(r"<li><code>([a-z0-9-]+)</code>")
_OPTIONS = re.compile(r'data-options="([^"]*)"')


class _Hidden(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "input" and named.get("type") == "hidden":
            self.found[named.get("name") or ""] = named.get("value") or ""


def hidden(text: str) -> dict[str, str]:
    """Name and value of every hidden field of a page."""
    parser = _Hidden()
    parser.feed(text)
    return parser.found


def secret_on(text: str) -> bytes:
    """The secret that a page offers to an authenticator app."""
    found = _SECRET.search(text)
    assert found is not None, text
    return base64.b32decode(found[1].replace(" ", ""))


def options_on(text: str) -> str:
    """The options for a passkey that a page holds for its script."""
    found = _OPTIONS.search(text)
    assert found is not None, text
    return html.unescape(found[1])


def recovery_codes_on(text: str) -> list[str]:
    """The recovery codes that a page shows."""
    return _CODES.findall(text)
