"""`wherry doctor`: whether a control plane is well, on its own machine."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from wherry.cli.exits import Exit
from wherry.cli.options import MasterKeySource, State
from wherry.cli.output import Ended, Format, answers, show

COLUMNS = (("", "verdict"), ("Check", "check"), ("Found", "found"), ("What to do", "remedy"))


@answers(COLUMNS)
def doctor(
    state: State,
    master_key: MasterKeySource = None,
    json: Annotated[bool, typer.Option("--json", help="As --output json.")] = False,
) -> Any:
    """Look a control plane over, served or not: PASS, WARN or FAIL of each check, and what to do.

    Changes nothing. Exits with 1 when anything fails.
    """
    from wherry.control import doctor as examination
    from wherry.control.examined import Verdict

    found = list(examination.examine(state, master_key, time.time()))
    told = [
        {"check": one.check, "verdict": str(one.verdict), "found": one.found, "remedy": one.remedy}
        for one in found
    ]
    failed = any(one.verdict is Verdict.FAIL for one in found)
    if json:
        show(told, form=Format.JSON)
    return Ended(None if json else told, int(Exit.ERROR if failed else Exit.DONE))
