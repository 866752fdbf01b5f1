"""The options of `model.options`, made into options of commands: one table for `wherry copy` and `wherry job`.

A command that is decorated gets those that were given as the argument `options`: a dictionary in the words of the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import typer

from wherry.cli import signature
from wherry.model.options import TABLE, WORDS, Takes, word_of

WHAT = "What is copied"
HOW = "How it is compared, kept and proved"
MIRROR = "What a mirror deletes"
PACE = "Speed"
THIS = "This run"
PANELS: dict[str, tuple[str, ...]] = {
    WHAT: ("include", "exclude", "ignore_case", "min_size", "max_size", "newer_than", "older_than", "links"),
    HOW: ("compare", "verify", "preserve"),
    MIRROR: ("mode", "max_delete", "allow_empty_source"),
    PACE: ("bandwidth", "requests_per_second"),
    THIS: ("dry_run", "accept_new_source"),
}
_SPELLINGS = {"mode": ("--copy-mode", "--mode")}
_METAVARS = {
    Takes.PATTERNS: "PATTERN",
    Takes.SIZE: "SIZE",
    Takes.RATE: "RATE",
    Takes.MOMENT: "TIME|AGE",
    Takes.COUNT: "NUMBER",
    Takes.POSITIVE: "NUMBER",
    Takes.VERIFY: "none|source|checksum|readback|sample=N%",
    Takes.WORDS: "mode,owner,times,xattrs,acls|all|none",
}
_LISTS = {"all": "mode,owner,times,xattrs,acls", "none": ""}


def job_options(command: signature.Command) -> signature.Command:
    """Give a command all options of a job."""
    options = [
        signature.option(name, _annotation(name, panel)) for panel, names in PANELS.items() for name in names
    ]

    def call(command: signature.Command, told: Mapping[str, Any], own: dict[str, Any]) -> Any:
        given = {
            word_of(name): _plain(name, value) for name, value in told.items() if value not in (None, [])
        }
        return command(options=given, **own)

    return signature.extended(command, options, call, without="options")


def _annotation(name: str, panel: str) -> Any:
    takes, meaning = TABLE[name]
    spellings = _SPELLINGS.get(name, (f"--{name.replace('_', '-')}",))
    told: dict[str, Any] = {"help": meaning, "show_default": False, "rich_help_panel": panel}
    if takes is Takes.WORD:
        return Annotated[WORDS[name] | None, typer.Option(*spellings, case_sensitive=False, **told)]
    if takes is Takes.FLAG:
        flag = f"{spellings[0]}/--no-{spellings[0].removeprefix('--')}"
        return Annotated[bool | None, typer.Option(flag, **told)]
    told["metavar"] = _METAVARS[takes]
    if takes is Takes.PATTERNS:
        return Annotated[list[str] | None, typer.Option(*spellings, **told)]
    if takes in (Takes.COUNT, Takes.POSITIVE):
        least = 1 if takes is Takes.POSITIVE else 0
        return Annotated[int | None, typer.Option(*spellings, min=least, **told)]
    return Annotated[str | None, typer.Option(*spellings, **told)]


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if TABLE[name].takes is Takes.WORDS:
        words = _LISTS.get(value.strip().lower(), value)
        return [word.strip() for word in words.split(",") if word.strip()]
    return value
