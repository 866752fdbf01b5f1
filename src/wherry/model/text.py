r"""Text from elsewhere, made harmless to show: names of files, strings of servers, traces.

A terminal obeys control characters and reorders text by others; both are shown as `\xNN` or `\uNNNN`.  What looks like
a secret is blanked in traces.  Called by whatever writes on terminals.
"""

from __future__ import annotations

import re

_RISKY = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_TOLD = r"account_?key|access_token|refresh_token|id_token|device_code|client_assertion|password|secret"
_SECRETS = (
    re.compile(r"(?i)\b((?:Bearer|DPoP)\s+)[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"\b()eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}"),
    re.compile(r"(?i)([?&;\s'\"]sig=)[A-Za-z0-9%+/=_-]+"),
    # In quotes it may have spaces.
    re.compile(rf"(?i)(['\"]?(?:{_TOLD})['\"]?\s*[=:]\s*\")[^\"]{{4,}}"),
    re.compile(rf"(?i)(['\"]?(?:{_TOLD})['\"]?\s*[=:]\s*'?)[^\s'\"&,}})]{{4,}}"),
)


def printable(text: str) -> str:
    """`text` with everything that a terminal could obey made visible; line ends and tabs stay."""
    return _RISKY.sub(_shown, text)


def one_line(text: str) -> str:
    """`text` on one line, for a cell of a table or a field between tabs."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def json_safe(document: str) -> str:
    """A JSON document with what a terminal could obey written as JSON's own escapes: it still means the same."""
    return _RISKY.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def without_secrets(text: str) -> str:
    """`text` with tokens, signatures and keys blanked."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1***", text)
    return text


def _shown(found: re.Match[str]) -> str:
    point = ord(found[0])
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"
