"""The agent's way out as its owner has set it in the shell: the proxy, and authorities that are trusted besides.

    way.json   with the password of the proxy, readable by the agent alone; in no bundle, no log, on no screen

Called by `state`; changed by the shell once the control plane was reached by the new way.
"""

from __future__ import annotations

import json
from pathlib import Path

from wherry.client import kept_file
from wherry.model.errors import UsageError
from wherry.model.way import DIRECT, Way

_NAME = "way.json"


def read(directory: Path) -> Way:
    """The way that was kept, the direct one when none was; raises `UsageError` for a damaged file."""
    path = directory / _NAME
    try:
        return Way.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        return DIRECT
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as broken:
        raise UsageError(f"{path} is damaged. Delete it, and set proxy and authorities anew.") from broken


def keep(directory: Path, way: Way) -> None:
    """Go by this way from now on."""
    path = directory / _NAME
    if way == DIRECT:
        kept_file.remove(path)
    else:
        kept_file.replace(path, json.dumps(way.to_json()).encode() + b"\n")
