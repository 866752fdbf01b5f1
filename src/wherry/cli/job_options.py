"""The options of `model.options`, made into options of commands: one table for `wherry copy` and `wherry job`.

A command that is decorated gets those that were given as the argument `options`: a dictionary in the words of the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherry.cli import arguments
from wherry.cli.arguments import Choice
from wherry.model import options
from wherry.model.options import TABLE, WORDS, word_of

if TYPE_CHECKING:
    from wherry.cli.signature import Command

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
ORDER = tuple(PANELS)
_SPELLINGS = {"mode": ("--copy-mode", "--mode")}
_TAKES = {
    options.Takes.FLAG: (arguments.Takes.EITHER, ""),
    options.Takes.WORD: (arguments.Takes.WORD, ""),
    options.Takes.PATTERNS: (arguments.Takes.TEXTS, "PATTERN"),
    options.Takes.SIZE: (arguments.Takes.TEXT, "SIZE"),
    options.Takes.RATE: (arguments.Takes.TEXT, "RATE"),
    options.Takes.MOMENT: (arguments.Takes.TEXT, "TIME|AGE"),
    options.Takes.COUNT: (arguments.Takes.NUMBER, "NUMBER"),
    options.Takes.POSITIVE: (arguments.Takes.NUMBER, "NUMBER"),
    options.Takes.VERIFY: (arguments.Takes.TEXT, "none|source|checksum|readback|sample=N%"),
    options.Takes.WORDS: (arguments.Takes.TEXT, "mode,owner,times,xattrs,acls|all|none"),
}
_LISTS = {"all": "mode,owner,times,xattrs,acls", "none": ""}


def _choice(name: str, panel: str) -> Choice:
    of, meaning = TABLE[name]
    takes, metavar = _TAKES[of]
    spellings = _SPELLINGS.get(name, (f"--{name.replace('_', '-')}",))
    least = 1 if of is options.Takes.POSITIVE else 0
    return Choice(name, spellings, takes, meaning, panel, metavar, least, WORDS.get(name))


CHOICES = tuple(_choice(name, panel) for panel, names in PANELS.items() for name in names)


def spelled(text: str) -> str:
    """A sentence about an option, with its spelling on the command line in place of the word of the API."""
    for choice in CHOICES:
        word = f"Option '{word_of(choice.name)}'"
        if text.startswith(word):
            return f"Option {choice.spellings[-1]}{text.removeprefix(word)}"
    return text


def told(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a job among the values of all options, in the words of the API."""
    found = {one.name: arguments.plain(given[one.name]) for one in CHOICES}
    return {word_of(name): _split(name, value) for name, value in found.items() if value is not None}


def job_options(command: Command) -> Command:
    """Give a command all options of a job."""
    from wherry.cli import signature

    extra = [signature.option(one.name, arguments.annotation(one), one.default) for one in CHOICES]

    def call(command: Command, given: Mapping[str, Any], own: dict[str, Any]) -> Any:
        return command(options=told(given), **own)

    return signature.extended(command, extra, call, without="options")


def _split(name: str, value: Any) -> Any:
    if TABLE[name].takes is not options.Takes.WORDS:
        return value
    words = _LISTS.get(value.strip().lower(), value)
    return [word.strip() for word in words.split(",") if word.strip()]
