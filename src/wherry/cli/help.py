"""Help of commands with many options: the options in groups, examples below, as plain text.

Called by `copy` and `job`; `program` gives the class to Typer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

REST = "Options"


def in_panels(order: Sequence[str], below: str = "") -> type[TyperCommand]:
    """A class of commands whose help has the panels of the options as sections, in this order, and then a text."""

    class Help(TyperCommand):
        def format_options(self, ctx: Any, formatter: Any) -> None:
            sections: dict[str, list[tuple[str, str]]] = {
                "Arguments": [],
                **{panel: [] for panel in order},
                REST: [],
            }
            for one in self.get_params(ctx):
                record = one.get_help_record(ctx)
                if record is not None:
                    sections[_panel(one)].append(record)
            if len(sections[REST]) > 1:
                # More than the help: what belongs to no panel is what the command needs.
                sections = {"Arguments": sections.pop("Arguments"), REST: sections.pop(REST), **sections}
            for panel, records in sections.items():
                if records:
                    with formatter.section(panel):
                        formatter.write_dl(records)

        def format_epilog(self, ctx: Any, formatter: Any) -> None:
            if below:
                formatter.write(f"\n{below}")

    return Help


def _panel(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    return getattr(parameter, "rich_help_panel", None) or REST
