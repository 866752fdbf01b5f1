"""`wherry copy`: the engine alone, from one place to another, without a control plane.

Here is the command as Typer sees it, for help, completion and whatever is not plainly right; `copy_options` is what it
can be told, `copy_run` what it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from wherry.cli import arguments, job_options, signature
from wherry.cli.copy_options import COLUMNS, EXAMPLES, ORDER, OWN, PLACE, asked
from wherry.cli.help import in_panels
from wherry.cli.output import answers
from wherry.cli.signature import Command

_CHOICES = (*OWN, *job_options.CHOICES)


def _told(command: Command) -> Command:
    extra = [signature.option(one.name, arguments.annotation(one), one.default) for one in _CHOICES]

    def call(command: Command, given: Mapping[str, Any], own: dict[str, Any]) -> Any:
        return command(given=given, **own)

    return signature.extended(command, extra, call, without="given")


@answers(COLUMNS)
@_told
def copy(
    source: Annotated[str, typer.Argument(metavar="SRC", show_default=False, help=PLACE)],
    target: Annotated[str, typer.Argument(metavar="DST", show_default=False, help=PLACE)],
    given: Mapping[str, Any],
) -> Any:
    """Copy a folder, container or bucket to another place, without a control plane."""
    from wherry.cli.copy_run import perform

    return perform(asked(source, target, given))


Help = in_panels(ORDER, EXAMPLES)
