"""Hidden fields of a page's forms: what a browser would send back."""

from __future__ import annotations

from html.parser import HTMLParser


class _Hidden(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "input" and named.get("type") == "hidden":
            self.found[named.get("name") or ""] = named.get("value") or ""


def hidden(html: str) -> dict[str, str]:
    """Name and value of every hidden field in `html`."""
    parser = _Hidden()
    parser.feed(html)
    return parser.found
