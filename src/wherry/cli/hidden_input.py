"""Passwords and secrets that a command needs: from a file, standard input or a prompt, never from its arguments."""

from __future__ import annotations

import sys
from pathlib import Path

from wherry.model.errors import UsageError


def ask(prompt: str, *, twice: bool = False) -> str:
    """A secret that is typed unseen; `UsageError` without a terminal."""
    import typer

    if not sys.stdin.isatty():
        raise UsageError(
            f"There is no terminal to ask for this on: {prompt}. Give a file; - is standard input."
        )
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True))


def read(file: Path) -> str:
    """The first line of a file, or of standard input for `-`."""
    text = sys.stdin.readline() if str(file) == "-" else file.read_text().partition("\n")[0]
    value = text.rstrip("\r\n")
    if not value:
        raise UsageError(f"{file} holds nothing in its first line.")
    return value
