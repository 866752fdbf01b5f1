"""What a person does not want to type each time: `config.json` in the configuration folder.

    defaults    group, mover, project, output: what a command uses when neither option nor environment says it
    deployment  the five variables of `wherry env`, kept at the first sign-in, used while they are not set

Called by `place`, `output`, `connected` and the command `wherry config`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherry.client import kept_file
from wherry.client.profile import Profile, config_directory
from wherry.model.errors import UsageError

KNOWN = {
    "group": "--resource-group",
    "mover": "--storage-mover-name",
    "project": "--project-name",
    "output": "--output",
}
_DEPLOYMENT = (
    "WHERRY_URL",
    "WHERRY_AUTHORITY",
    "WHERRY_TENANT_ID",
    "WHERRY_SUBSCRIPTION_ID",
    "WHERRY_CA_FILE",
)


def read(name: str) -> str | None:
    """The default that is set for `name`."""
    found = _document().get("defaults", {}).get(name)
    return None if found is None else str(found)


def find(name: str, given: str | None) -> str:
    """`given`, else the default; `UsageError` that says how to give one."""
    value = given or read(name)
    if not value:
        raise UsageError(
            f"Give {KNOWN[name]}, or set a default: wherry config set defaults.{name}=NAME, or the environment "
            f"variable WHERRY_{name.upper()}."
        )
    return value


def every() -> dict[str, Any]:
    """All that is kept."""
    return _document()


def change(settings: Mapping[str, str]) -> None:
    """Set `defaults.NAME` to a value, or forget it for an empty one."""
    document = _document()
    kept = dict(document.get("defaults", {}))
    for key, value in settings.items():
        section, _, name = key.partition(".")
        if section != "defaults" or name not in KNOWN:
            raise UsageError(
                f"'{key}' is not known; known are {', '.join(f'defaults.{one}' for one in KNOWN)}."
            )
        kept.pop(name, None)
        if value:
            kept[name] = value
    _write({**document, "defaults": kept})


def profile() -> Profile:
    """The deployment to talk to: that of the environment, else the one that was signed in to last."""
    kept = _document().get("deployment", {})
    named = any(os.environ.get(name) for name in _DEPLOYMENT)
    return Profile.from_environment(os.environ if named or not kept else kept)


def keep_profile(known: Profile) -> None:
    """Remember the deployment that a person signed in to."""
    values = (known.url, known.authority, known.tenant, known.subscription, str(known.ca_file.absolute()))
    _write({**_document(), "deployment": dict(zip(_DEPLOYMENT, values, strict=True))})


def _file() -> Path:
    return config_directory() / "config.json"


def _document() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text())
    except FileNotFoundError:
        return {}
    except ValueError as broken:
        raise UsageError(f"{_file()} is damaged: {broken}. Correct it or remove it.") from broken
    if not isinstance(found, dict):
        raise UsageError(f"{_file()} is damaged: it holds no object. Correct it or remove it.")
    return found


def _write(document: Mapping[str, Any]) -> None:
    kept_file.private_folder(_file().parent)
    kept_file.replace(_file(), json.dumps(document, indent=2).encode() + b"\n")
