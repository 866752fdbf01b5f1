"""The options of `model.options`, made into options of commands: one table for `wherry copy` and `wherry job`.

A command that is decorated gets those that were given as the argument `options`: a dictionary in the words of the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from enum import Enum
from typing import Annotated, Any

import typer

from wherry.cli import signature
from wherry.model.options import JobOptions

HELP = {
    "mode": "Additive keeps what only the target has, Mirror deletes it.",
    "include": "Copy only what matches this pattern; repeatable. * also crosses /; without / it is about the name.",
    "exclude": "Leave out what matches this pattern; repeatable. A folder that is left out is not entered.",
    "compare": "When an item of the target counts as equal: by time and size, or by size.",
    "verify": "What proves a copied file: nothing more, the source unchanged, or the target read back.",
    "links": "What becomes of symbolic links.",
    "max_delete": "How many items Mirror may delete; by default the larger of 1000 and a fifth of the source.",
    "allow_empty_source": "Let Mirror empty the target when the source is empty.",
    "accept_new_source": "Go on although the source is not the file system of earlier runs.",
    "dry_run": "Change nothing; the log tells what would be done.",
}
SPELLINGS = {"mode": ("--copy-mode", "--mode")}


def job_options(command: signature.Command) -> signature.Command:
    """Give a command all options of a job."""
    options = [signature.option(one.name, _annotation(one)) for one in fields(JobOptions)]

    def call(command: signature.Command, told: Mapping[str, Any], own: dict[str, Any]) -> Any:
        given = {_word(name): _plain(value) for name, value in told.items() if value not in (None, [])}
        return command(options=given, **own)

    return signature.extended(command, options, call, without="options")


def _annotation(one: Field[Any]) -> Any:
    spellings = SPELLINGS.get(one.name, (f"--{one.name.replace('_', '-')}",))
    told: dict[str, Any] = {"help": HELP[one.name], "show_default": False}
    if isinstance(one.default, Enum):
        return Annotated[type(one.default) | None, typer.Option(*spellings, case_sensitive=False, **told)]
    if isinstance(one.default, tuple):
        return Annotated[list[str] | None, typer.Option(*spellings, metavar="PATTERN", **told)]
    if isinstance(one.default, bool):
        flag = f"{spellings[0]}/--no-{spellings[0].removeprefix('--')}"
        return Annotated[bool | None, typer.Option(flag, **told)]
    return Annotated[int | None, typer.Option(*spellings, metavar="NUMBER", min=0, **told)]


def _word(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
