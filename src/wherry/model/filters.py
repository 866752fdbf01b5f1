"""What a job leaves out: patterns on paths, sizes and ages.

`Filters.of` makes one object of a run's options; whoever decides about many items keeps it.  Patterns are those of
`patterns`, and the last one that matches decides.  What is excluded takes all below it along, so a path need only be
asked about when its folders were not left out.  `include` chooses among files: a pattern that matches a folder
chooses what is in it, unless one that is nearer to the file says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby

from wherry.model import patterns
from wherry.model.entry import Entry, Kind
from wherry.model.options import JobOptions
from wherry.model.patterns import Pattern

_Matcher = re.Pattern[bytes]
# Patterns in a row that say the same: about names, about paths; and what they say.  The last ones come first.
_Rules = tuple[tuple[_Matcher | None, _Matcher | None, bool], ...]


class Filters:
    """The filters of one set of options.  May be used by several threads."""

    __slots__ = (
        "_above", "_below", "_in_files", "_in_folders", "_largest", "_newest", "_oldest", "_out_files", "_out_folders",
        "_smallest", "is_empty",
    )  # fmt: skip

    def __init__(self, options: JobOptions) -> None:
        flags = re.DOTALL | (re.IGNORECASE if options.ignore_case else 0)
        exclude = [patterns.read(one, ignore_case=options.ignore_case) for one in options.exclude]
        include = [patterns.read(one, ignore_case=options.ignore_case) for one in options.include]
        self._out_folders = _rules(exclude, flags)
        self._out_files = _rules((one for one in exclude if not one.folders_only), flags)
        self._in_folders = _rules(include, flags)
        self._in_files = _rules((one for one in include if not one.folders_only), flags)
        self._below = _below(include, flags)
        # The folder that was asked about last, and whether `include` chooses what is in it.
        self._above: tuple[bytes, bool] = (b"", False)
        self._smallest = options.min_size or 0
        self._largest = options.max_size
        self._oldest = _moment(options.newer_than)
        self._newest = _moment(options.older_than)
        sized = self._smallest or self._largest is not None
        aged = self._oldest is not None or self._newest is not None
        self.is_empty = not (exclude or include or sized or aged)

    @staticmethod
    @lru_cache(maxsize=16)
    def of(options: JobOptions) -> Filters:
        """The filters of these options, whose ages are moments (`JobOptions.at`)."""
        return Filters(options)

    def excludes(self, path: bytes, kind: Kind) -> bool:
        """Whether the patterns leave an item out; its folders have been asked about."""
        folder = kind is Kind.FOLDER
        name = path[path.rfind(b"/") + 1 :]
        if not name:
            return False
        if rules := (self._out_folders if folder else self._out_files):
            for names, paths, out in rules:
                if (names and names.fullmatch(name)) or (paths and paths.fullmatch(path)):
                    if out:
                        return True
                    break
        return not folder and bool(self._in_folders) and not self._chosen(path, name)

    def prunes(self, folder: bytes) -> bool:
        """Whether `include` cannot choose anything below a folder."""
        return self._below is not None and bool(folder) and not self._below.fullmatch(folder)

    def leaves_out(self, entry: Entry) -> bool:
        """Whether a file is left out for its size or its time; unknown times leave nothing out."""
        if entry.kind is not Kind.FILE:
            return False
        if entry.size < self._smallest or (self._largest is not None and entry.size > self._largest):
            return True
        if entry.modified is None:
            return False
        if self._oldest is not None and entry.modified < self._oldest:
            return True
        return self._newest is not None and entry.modified >= self._newest

    def _chosen(self, path: bytes, name: bytes) -> bool:
        for names, paths, chosen in self._in_files:
            if (names and names.fullmatch(name)) or (paths and paths.fullmatch(path)):
                return chosen
        folder = path[: -len(name) - 1]
        known, chosen = self._above
        if known != folder:
            chosen = self._chosen_folder(folder)
            self._above = (folder, chosen)
        return chosen

    def _chosen_folder(self, folder: bytes) -> bool:
        while folder:
            name = folder[folder.rfind(b"/") + 1 :]
            for names, paths, chosen in self._in_folders:
                if (names and names.fullmatch(name)) or (paths and paths.fullmatch(folder)):
                    return chosen
            folder = folder[: -len(name) - 1]
        return False


def _rules(read: Iterable[Pattern], flags: int) -> _Rules:
    rules = []
    for negated, group in groupby(read, key=lambda one: one.negated):
        several = list(group)
        names = _either([one.regex for one in several if one.floating], flags)
        paths = _either([one.regex for one in several if not one.floating], flags)
        rules.append((names, paths, not negated))
    return tuple(reversed(rules))


def _either(regexes: Sequence[bytes], flags: int) -> _Matcher | None:
    return re.compile(b"|".join(regexes), flags) if regexes else None


def _below(include: list[Pattern], flags: int) -> _Matcher | None:
    wanted = [one.below for one in include if not one.negated]
    regexes = [one for one in wanted if one is not None]
    return _either(regexes, flags) if len(regexes) == len(wanted) else None


def _moment(moment: int | str | None) -> int | None:
    if moment is None or isinstance(moment, int):
        return moment
    raise ValueError("an age is no moment before the run has started")
