"""A QR code in characters, for terminals that show nothing else."""

from __future__ import annotations

import io

import segno


def drawn(text: str) -> str:
    """`text` as a QR code of half blocks, two modules a character."""
    out = io.StringIO()
    segno.make(text, micro=False).terminal(out, compact=True)
    return out.getvalue()
