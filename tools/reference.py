"""Write the reference pages that are made from the program's own tables.

python tools/reference.py          writes them
python tools/reference.py --check  exits 1 and names the pages that are not up to date
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from wherry.agent.shell import menus, shell
from wherry.agent.shell.here import Here
from wherry.agent.shell.menus import Menu
from wherry.agent.state import AgentState
from wherry.cli import copy_options
from wherry.cli.arguments import Choice, Takes
from wherry.control import openapi
from wherry.control.areas import AREAS
from wherry.model.errors import CODES
from wherry.model.options import TABLE, WORDS, JobOptions, word_of

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"

_SCOPES = {"agent": "Agent", "run": "Job run", "item": "Item"}
_DEEDS = {
    "none": "goes on",
    "retry": "tries again",
    "skip": "leaves the item out",
    "fail_item": "counts the item as failed and goes on",
    "fail_run": "ends the run as failed",
}


def errors() -> str:
    """The page of codes, one heading for each so that it can be linked to."""
    lines = ["# Error codes", "", "Made from `wherry/model/errors.py` by `tools/reference.py`.", ""]
    for row in CODES.values():
        lines += [
            f"## {row.code}",
            "",
            row.message,
            "",
            f"- Concerns: {_SCOPES[row.scope].lower()}; Wherry {_DEEDS[row.disposition]}.",
            f"- What to do: {row.remedy}",
            "",
        ]
    return "\n".join(lines)


def options() -> str:
    """The page of job options."""
    lines = [
        "# Job options",
        "",
        "One table for `wherry copy`, `wherry job create` and `properties.wherry` of a job definition; a run freezes",
        "them when it starts.  Made from `wherry/model/options.py` by `tools/reference.py`.",
        "",
        "| option | default | takes | what it does |",
        "|---|---|---|---|",
    ]
    defaults = JobOptions()
    for name, (takes, meaning) in TABLE.items():
        values = ", ".join(f"`{one.value}`" for one in WORDS[name]) if name in WORDS else takes.value
        default = _text(name, getattr(defaults, name))
        lines.append(f"| `{word_of(name)}` | {default} | {values} | {meaning} |")
    return "\n".join([*lines, ""])


def _text(name: str, default: object) -> str:
    if name == "preserve":
        return "all"
    if isinstance(default, Enum):
        return f"`{default.value}`"
    return f"`{str(default).lower()}`" if default not in ((), None) else "none"


def copy() -> str:
    """The page of `wherry copy`: written by hand but for its options."""
    page = (REFERENCE / "copy.md").read_text()
    head, begin, rest = page.partition(_FROM)
    _, end, tail = rest.partition(_TO)
    lines = [""]
    for panel in copy_options.ORDER:
        lines += [f"### {panel}", "", "| option | does |", "|---|---|"]
        lines += [_choice(one) for one in copy_options.CHOICES if one.panel == panel]
        lines.append("")
    return head + begin + "\n".join(lines) + end + tail


_FROM = "<!-- from here: tools/reference.py -->\n"
_TO = "<!-- to here -->"


def _choice(one: Choice) -> str:
    spellings = ", ".join(f"`{spelling}`" for spelling in one.spellings)
    value = one.metavar
    if one.words is not None:
        value = "|".join(str(word.value).lower() for word in one.words)
    elif one.takes is Takes.EITHER:
        spellings += f", `{one.opposite}`"
    shown = value.replace("|", "\\|")
    return f"| {spellings}{f' `{shown}`' if value else ''} | {one.help} |"


class _Recorder:
    """A terminal at which these lines are typed; `shown` is what stands on it at the end."""

    width = 80

    def __init__(self, lines: list[str]) -> None:
        self._lines = iter(lines)
        self.shown = ""

    def say(self, text: str) -> None:
        self.shown += f"{text}\n"

    def ask(self, prompt: str, *, secret: bool = False) -> str:
        line = next(self._lines)
        self.shown += f"{prompt}{line}\n"
        return line

    def rest(self, seconds: float) -> None:
        """No time passes."""


def xdmsh() -> str:
    """The page of the admin shell: what stands on the screen of whoever goes through all menus."""
    lines = [
        "# The menus of the admin shell", "",
        "What `xdmsh` shows to whoever asks for help in each menu.  Made by `tools/reference.py`, which types it.",
        "How to use it: [the admin shell](../how-to/admin-shell.md).", "",
    ]  # fmt: skip
    for name in menus.MENUS:
        lines += _screen(_TITLES[name], menus.MENUS, name)
    for name in menus.NEWER:
        if menus.NEWER[name] != menus.MENUS.get(name):
            lines += _screen(f"{_TITLES[name]}, with `--newer-menus`", menus.NEWER, name)
    does = [entry.does for entry in menus.MENUS["main"].entries]
    typed = [str(does.index("restricted") + 1), "help", "exit"]
    return "\n".join(lines + _screen("The restricted shell", menus.MENUS, "main", typed))


_TITLES = {
    "main": "The main menu", "system": "System configuration", "network": "Network configuration",
    "update_network": "Update network configuration",
    "status": "Service and job status", "troubleshooting": "Troubleshooting",
}  # fmt: skip


def _screen(title: str, known: Mapping[str, Menu], name: str, typed: Sequence[str] = ("?",)) -> list[str]:
    """One menu, with what was typed there before it was left."""
    recorder = _Recorder([*typed, str(len(known[name].entries))])
    with tempfile.TemporaryDirectory() as folder:
        shell.run(Here(recorder, AgentState(Path(folder)), menus=known), name)
    return [f"## {title}", "", "```text", recorder.shown.strip("\n"), "```", ""]


def operations() -> str:
    """The page of all operations: the OpenAPI document, as far as people read it."""
    lines = [
        "# Operations", "",
        "All that the service answers to, by area, as its OpenAPI document tells it (`/openapi.json`, `wherry api`).",
        "What has an `api-version` needs the query parameter. Made by `tools/reference.py`.", "",
    ]  # fmt: skip
    told = openapi.document(one for area in AREAS for one in area.declared)
    found = [
        (one["tags"][0], method.upper(), path, one)
        for path, there in told["paths"].items()
        for method, one in there.items()
    ]
    for tag in sorted({one[0] for one in found}):
        lines += [f"## {tag}", "", "| operation | who may | does |", "|---|---|---|"]
        lines += [_operation(method, path, one) for area, method, path, one in found if area == tag]
        lines.append("")
    return "\n".join(lines)


def _operation(method: str, path: str, one: dict[str, Any]) -> str:
    version = any(parameter["name"] == "api-version" for parameter in one["parameters"])
    who = f"`{one['x-wherry-action']}`" if "x-wherry-action" in one else one["x-wherry-access"]
    does = one["summary"].replace("|", "\\|")
    return f"| `{method} {path}`{' `api-version`' if version else ''} | {who} | {does} |"


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors, "job-options.md": options, "copy.md": copy, "xdmsh.md": xdmsh,
    "operations.md": operations,
}  # fmt: skip


def main() -> int:
    """Write or check all pages."""
    stale = []
    for name, make in PAGES.items():
        page = REFERENCE / name
        if not page.exists() or page.read_text() != make():
            stale.append(name)
            if "--check" not in sys.argv:
                page.write_text(make())
    if stale and "--check" in sys.argv:
        print(f"Not up to date: {', '.join(stale)}. Run: python tools/reference.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
