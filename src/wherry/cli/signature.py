"""Commands that share options: the options are added to the signature that Typer reads, and taken off before the call.

Called by `output` (every command that answers with data) and `job_options`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any, get_type_hints

Command = Callable[..., Any]
Call = Callable[[Command, Mapping[str, Any], dict[str, Any]], Any]


def option(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    """A parameter by keyword; `annotation` is `Annotated[type, typer.Option(…)]`."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def extended(command: Command, options: list[inspect.Parameter], call: Call, *, without: str = "") -> Command:
    """`command` with further options; `call` gets it, their values and the arguments of its own.

    `without` names a parameter of the command that `call` fills in.
    """
    names = {one.name for one in options}

    def wrapper(**given: Any) -> Any:
        own = {name: value for name, value in given.items() if name not in names}
        return call(command, {name: given[name] for name in names}, own)

    update_wrapper(wrapper, command)
    # Typer would look through to the original otherwise.
    del wrapper.__wrapped__  # type: ignore[attr-defined]
    known = inspect.signature(command).parameters.values()
    hints = get_type_hints(command, include_extras=True)
    kept = [one.replace(annotation=hints.get(one.name, Any)) for one in known if one.name != without]
    wrapper.__signature__ = inspect.Signature([*kept, *options])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in [*kept, *options]}
    return wrapper
