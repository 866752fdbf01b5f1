"""Options of commands as data, read in two ways: by Typer, and at once.

Typer and what it imports take longer than a small copy.  A command whose options are data can be read without it:
`quickly` understands what is plainly right and gives up (None) on all else, such as help, completion or mistakes, for
which Typer is asked.  Both come to the same values; a test compares them.  Called by `job_options` and `copy_options`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any


class Takes(Enum):
    """What follows an option."""

    NOTHING = "a flag that is off without it"
    EITHER = "a flag that can be given as `--no-…` as well"
    TEXT = "any text"
    TEXTS = "any text, and it may be repeated"
    NUMBER = "a whole number"
    WORD = "one of its words"


@dataclass(frozen=True, slots=True)
class Choice:
    """An option.  `spellings`: the long one first; `least` is that of a number, `words` those of a word."""

    name: str
    spellings: tuple[str, ...]
    takes: Takes
    help: str
    panel: str
    metavar: str = ""
    least: int = 0
    words: type[Enum] | None = None

    @property
    def opposite(self) -> str:
        """How the flag is turned off."""
        return f"--no-{self.spellings[0].removeprefix('--')}"

    @property
    def default(self) -> Any:
        """The value without it."""
        return False if self.takes is Takes.NOTHING else None


def annotation(choice: Choice) -> Any:
    """The option as Typer reads it."""
    import typer

    told: dict[str, Any] = {"help": choice.help, "show_default": False, "rich_help_panel": choice.panel}
    if choice.takes is Takes.NOTHING:
        return Annotated[bool, typer.Option(*choice.spellings, **told)]
    if choice.takes is Takes.EITHER:
        return Annotated[bool | None, typer.Option(f"{choice.spellings[0]}/{choice.opposite}", **told)]
    if choice.words is not None:
        return Annotated[choice.words | None, typer.Option(*choice.spellings, case_sensitive=False, **told)]
    told["metavar"] = choice.metavar
    if choice.takes is Takes.TEXTS:
        return Annotated[list[str] | None, typer.Option(*choice.spellings, **told)]
    if choice.takes is Takes.NUMBER:
        return Annotated[int | None, typer.Option(*choice.spellings, min=choice.least, **told)]
    return Annotated[str | None, typer.Option(*choice.spellings, **told)]


def plain(value: Any) -> Any:
    """A value that Typer has read, as `quickly` reads it: words as text, nothing for an empty list."""
    if isinstance(value, Enum):
        return value.value
    return value if value != [] else None


def quickly(
    choices: Iterable[Choice], places: int, given: Sequence[str]
) -> tuple[list[str], Mapping[str, Any]] | None:
    """As many arguments as `places` and the value of each option; None when Typer has to look at it."""
    known = {spelling: choice for choice in choices for spelling in choice.spellings}
    off = {choice.opposite: choice for choice in known.values() if choice.takes is Takes.EITHER}
    values = {choice.name: choice.default for choice in known.values()}
    arguments: list[str] = []
    words = iter(given)
    for word in words:
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            continue
        head, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        choice = known.get(head) or off.get(head)
        if choice is None:
            return None
        if choice.takes in (Takes.NOTHING, Takes.EITHER):
            if equals:
                return None
            values[choice.name] = head in known
            continue
        if not equals:
            value = next(words, "--")
        if not _take(choice, value, values):
            return None
    return (arguments, values) if len(arguments) == places and all(arguments) else None


def _take(choice: Choice, value: str, values: dict[str, Any]) -> bool:
    """Note the value of an option; whether it is plainly right."""
    if not value or (value.startswith("-") and value != "-"):
        return False
    if choice.takes is Takes.NUMBER:
        if not (value.isascii() and value.isdigit() and len(value) < 19 and int(value) >= choice.least):
            return False
        values[choice.name] = int(value)
    elif choice.words is not None:
        found = next((one.value for one in choice.words if str(one.value).lower() == value.lower()), None)
        values[choice.name] = found
        return found is not None
    elif choice.takes is Takes.TEXTS:
        values[choice.name] = [*(values[choice.name] or []), value]
    else:
        values[choice.name] = value
    return True
